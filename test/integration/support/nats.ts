// A real nats-server with the stack's configuration and streams, for one test file.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { createLogger } from "@vqd/shared/log.ts";
import { Broker } from "../../../gpu-worker/nats/broker.ts";
import { keyOfCheckpoint } from "../../../gpu-worker/serving/model-key.ts";
import { readConfig } from "../../../gpu-worker/config.ts";
import { loadPasswords, type Passwords, writeNatsConfig } from "../../../infra/nats/config.ts";
import { ensureNatsServer } from "../../../infra/nats/server.ts";
import { applyStreams } from "../../../infra/nats/streams.ts";
import { Child } from "../../../infra/stack/children/child.ts";
import { natsChild } from "../../../infra/stack/children/nats.ts";
import { REPO } from "../../../infra/stack/paths.ts";
import { freePorts } from "../../../infra/stack/ports.ts";
import { TINY_MODEL } from "./stack.ts";

export interface TestNats {
  readonly dir: string;
  readonly url: string;
  readonly configPath: string;
  readonly passwords: Passwords;
  readonly server: Child;
  stop(): Promise<void>;
}

/** The key of the fixtures' model. */
export const TINY_KEY = keyOfCheckpoint({ dir: TINY_MODEL }, join(REPO, ".vqd", "cache"));

/** `models` are the keys of what workers may serve, each of which has its queues. */
export async function startTestNats({ models = [TINY_KEY] }: { models?: string[] } = {}): Promise<TestNats> {
  const dir = await mkdtemp(join(tmpdir(), "vqd-nats-"));
  const [client = 0, websocket = 0, monitor = 0] = await freePorts(3);
  const ports = { client, websocket, monitor };
  const passwords = loadPasswords(dir);
  const configPath = writeNatsConfig(dir, { ports, passwords, modelKeys: models });
  const binary = await ensureNatsServer({ binDir: join(dir, "bin"), log: () => {} });
  const server = new Child(natsChild(binary, configPath, ports), { log: () => {}, onProcess: () => {} });
  await server.start();
  const url = `nats://127.0.0.1:${client}`;
  await applyStreams({ url, password: passwords.operator }, { models });
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
export async function connectWorker({ url, passwords }: TestNats): Promise<Broker> {
  const { nats } = readConfig({
    VQD_NATS_URL: url,
    VQD_NATS_USER: "worker",
    VQD_NATS_PASSWORD: passwords.worker,
  });
  const log = createLogger(() => {}, "error");
  const broker = await Broker.connect({ nats, name: "test", log, onRefused: () => {} });
  await broker.tryEvents(TINY_KEY);
  return broker;
}
