// Global set-up of the workerd tests: a real nats-server with the stack's own configuration and streams.

import { type ChildProcess, spawn } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { connect } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { TestProject } from "vitest/node";
import { modelKey } from "@vqd/shared/model.ts";
import { loadPasswords, writeNatsConfig } from "../../infra/nats/config.ts";
import { ensureNatsServer } from "../../infra/nats/server.ts";
import { applyStreams } from "../../infra/nats/streams.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { freePorts } from "../../infra/stack/ports.ts";
import { PLAYED_MODELS } from "./played-models.ts";

/** Small, so that a test can fill the queue. */
const QUEUE_LIMIT = 40;
const modelKeys = Object.values(PLAYED_MODELS).map(modelKey);
const START_TIMEOUT_MS = 10_000;

declare module "vitest" {
  interface ProvidedContext {
    natsUrl: string;
    natsEdgePassword: string;
    natsWorkerPassword: string;
    natsOperatorPassword: string;
  }
}

function accepts(port: number): Promise<boolean> {
  return new Promise((resolve) => {
    const socket = connect({ host: "127.0.0.1", port });
    socket.once("connect", () => {
      socket.destroy();
      resolve(true);
    });
    socket.once("error", () => resolve(false));
  });
}

async function ready(server: ChildProcess, port: number): Promise<void> {
  const until = Date.now() + START_TIMEOUT_MS;
  while (!(await accepts(port))) {
    if (server.exitCode !== null) throw new Error(`nats-server ended with code ${server.exitCode}`);
    if (Date.now() > until) throw new Error("nats-server does not accept connections");
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const dir = await mkdtemp(join(tmpdir(), "vqd-workerd-"));
  const [client = 0, websocket = 0, monitor = 0] = await freePorts(3);
  const passwords = loadPasswords(dir);
  const { path } = await ensureNatsServer({ binDir: join(REPO, ".vqd", "bin"), log: () => {} });
  const config = writeNatsConfig(dir, { ports: { client, websocket, monitor }, passwords, modelKeys });
  const server = spawn(path, ["-c", config], { stdio: "ignore" });
  const stop = async (): Promise<void> => {
    const ended = new Promise((resolve) => server.once("exit", resolve));
    if (server.exitCode === null && server.kill("SIGKILL")) await ended;
    await rm(dir, { recursive: true, force: true });
  };
  try {
    await ready(server, client);
    await ready(server, websocket);
    await applyStreams(
      { url: `nats://127.0.0.1:${client}`, password: passwords.operator },
      { queueLimit: QUEUE_LIMIT, models: modelKeys },
    );
  } catch (error) {
    await stop();
    throw error;
  }
  project.provide("natsUrl", `ws://127.0.0.1:${websocket}`);
  project.provide("natsEdgePassword", passwords.edge);
  project.provide("natsWorkerPassword", passwords.worker);
  project.provide("natsOperatorPassword", passwords.operator);
  return stop;
}
