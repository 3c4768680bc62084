// A real nats-server with the stack's configuration and streams, for one test file.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@vqd/shared/log.ts";
import { Broker } from "../../../gpu-worker/nats/broker.ts";
import { readConfig } from "../../../gpu-worker/config.ts";
import { loadPasswords, type Passwords, writeNatsConfig } from "../../../infra/nats/config.ts";
import { ensureNatsServer } from "../../../infra/nats/server.ts";
import { applyStreams } from "../../../infra/nats/streams.ts";
import { Child } from "../../../infra/stack/child.ts";
import { natsChild } from "../../../infra/stack/nats-child.ts";
import { freePorts } from "../../../infra/stack/ports.ts";

export interface TestNats {
  readonly dir: string;
  readonly url: string;
  readonly configPath: string;
  readonly passwords: Passwords;
  readonly server: Child;
  stop(): Promise<void>;
}

export async function startTestNats(): Promise<TestNats> {
  const dir = await mkdtemp(join(tmpdir(), "vqd-nats-"));
  const [client = 0, websocket = 0, monitor = 0] = await freePorts(3);
  const ports = { client, websocket, monitor };
  const passwords = loadPasswords(dir);
  const configPath = writeNatsConfig(dir, ports, passwords);
  const binary = await ensureNatsServer({ binDir: join(dir, "bin"), log: () => {} });
  const server = new Child(natsChild(binary, configPath, ports), { log: () => {}, onProcess: () => {} });
  await server.start();
  const url = `nats://127.0.0.1:${client}`;
  await applyStreams({ url, password: passwords.operator });
  return {
    dir,
    url,
    configPath,
    passwords,
    server,
    async stop() {
      await server.stop();
      await rm(dir, { recursive: true, force: true });
    },
  };
}

/** A worker's connection, as its user. */
export function connectWorker({ url, passwords }: TestNats): Promise<Broker> {
  const { nats } = readConfig({
    VQD_NATS_URL: url,
    VQD_NATS_USER: "worker",
    VQD_NATS_PASSWORD: passwords.worker,
  });
  return Broker.connect({ nats, name: "test", log: createLogger(() => {}, "error"), onRefused: () => {} });
}
