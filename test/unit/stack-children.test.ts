// What `npm start` tells its edge and its workers, of which they find nothing else in the environment.

import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readConfig } from "../../gpu-worker/config.ts";
import { edgeChild } from "../../infra/stack/children/edge.ts";
import { workerChild } from "../../infra/stack/children/worker.ts";

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "vqd-children-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

/** The settings that a worker reads when this is the environment of `npm start`. */
const workerConfig = (baseEnv: Record<string, string>) => {
  const settings = {
    natsUrl: "nats://127.0.0.1:4",
    password: "secret",
    model: "/models/a",
    provider: "cpu",
    threads: 3,
    cacheDir: dir,
    env: {},
  };
  return readConfig(workerChild(1, settings, baseEnv).env);
};

it("gives workers their share of the cores, or the threads that the environment says", () => {
  expect(workerConfig({}).threads).toBe(3);
  expect(workerConfig({ VQD_THREADS: "" }).threads).toBe(3);
  expect(workerConfig({ VQD_THREADS: "1" }).threads).toBe(1);
});

it("lets workers connect to its own NATS, whatever the environment says of another", () => {
  const elsewhere = {
    VQD_NATS_URL: "tls://nats.example",
    VQD_NATS_CREDS: "/worker.creds",
    VQD_NATS_CA: "/ca.pem",
    VQD_NATS_CERT: "/cert.pem",
    VQD_NATS_KEY: "/key.pem",
  };
  expect(workerConfig(elsewhere).nats).toEqual(workerConfig({}).nats);
});

it("has the edge log what the environment asks for", () => {
  const settings = {
    programDir: dir,
    port: 1,
    websocketPort: 2,
    password: "secret",
    apiKey: "key",
    defaultModel: "vqd/a",
    dataDir: dir,
    expectsModel: false,
    env: {},
  };
  const variables = (baseEnv: NodeJS.ProcessEnv): string => {
    edgeChild(settings, baseEnv);
    return readFileSync(join(dir, "edge.env"), "utf8");
  };
  expect(variables({ VQD_LOG_LEVEL: "debug" })).toContain("LOG_LEVEL='debug'\n");
  expect(variables({ VQD_LOG_LEVEL: "" })).not.toContain("LOG_LEVEL");
});
