// The worker's environment: defaults, and errors that name the variable.

import { delimiter } from "node:path";
import { describe, expect, it } from "vitest";
import { readConfig } from "../../gpu-worker/config.ts";
import { connectionOptions } from "../../gpu-worker/nats/settings.ts";
import { defaultModelName } from "../../gpu-worker/serving/manifest.ts";
import { modelNameSchema } from "@vqd/shared/model.ts";

it("serves the bundled model on the CPU by default, and takes an empty variable for unset", () => {
  const config = readConfig({ VQD_PROVIDER: "", VQD_THREADS: "3" });
  expect(config).toMatchObject({ provider: "cpu", threads: 3, slots: 1, maxAttempts: 3 });
  expect(config).toMatchObject({ stallMs: 10_000, stateEvery: 1, modelBytes: Infinity });
  expect(config.models).toEqual([{ dir: expect.stringMatching(/scenes$/) as string, name: undefined }]);
});

it("serves several models, each with its name", () => {
  const VQD_MODEL = ["/models/a", "/models/b"].join(delimiter);
  expect(readConfig({ VQD_MODEL, VQD_MODEL_NAME: "me/a, me/b", VQD_MODEL_MEMORY_MB: "500" })).toMatchObject({
    models: [
      { dir: "/models/a", name: "me/a" },
      { dir: "/models/b", name: "me/b" },
    ],
    modelBytes: 500 * 1024 * 1024,
  });
  expect(() => readConfig({ VQD_MODEL, VQD_MODEL_NAME: "me/a" })).toThrow(
    "VQD_MODEL_NAME: has 1 names for the 2 folders of VQD_MODEL",
  );
});

it.each([
  ["VQD_PROVIDER", "tpu"],
  ["VQD_THREADS", "0"],
  ["VQD_THREADS", "two"],
  ["VQD_SLOTS", "1.5"],
  ["VQD_STALL_SECONDS", "-1"],
  ["VQD_HEALTH_PORT", "70000"],
  ["VQD_MODEL_NAME", "no-owner"],
  ["VQD_MODEL", delimiter],
  ["VQD_NATS_URL", "http://nats.example"],
  ["VQD_NATS_URL", "nats://a.example,"],
])("refuses %s=%s by name", (variable, value) => {
  expect(() => readConfig({ [variable]: value })).toThrow(variable);
});

it("takes a name for the worker that its events can hold", () => {
  const VQD_WORKER_NAME = "w".repeat(200);
  expect(readConfig({ VQD_WORKER_NAME }).workerName).toBe(VQD_WORKER_NAME);
  expect(() => readConfig({ VQD_WORKER_NAME: `${VQD_WORKER_NAME}w` })).toThrow("VQD_WORKER_NAME");
});

it.each([
  ["/models/scenes", "vqd/scenes"],
  ["./My Model.v2", "vqd/my-model-v2"],
  ["/x/--odd--", "vqd/odd"],
  ["/x/日本", "vqd/model"],
  ["/x/_ck", "vqd/ck"],
  ["/x/-_", "vqd/model"],
  [`/x/${"long ".repeat(30)}`, `vqd/${"long-".repeat(19)}l`],
  [`/x/${"a".repeat(95)} b`, `vqd/${"a".repeat(95)}`],
])("names the model in %s %s", (folder, name) => {
  expect(defaultModelName(folder)).toBe(name);
  expect(modelNameSchema.safeParse(name).success).toBe(true);
});

describe("the connection to NATS", () => {
  const optionsOf = (env: Record<string, string>) => connectionOptions(readConfig(env).nats);

  it("is to a local server without more by default", () => {
    expect(optionsOf({})).toEqual({ servers: ["nats://127.0.0.1:4222"] });
  });

  it("takes the servers of a cluster, and insists on TLS where a URL or a CA says so", () => {
    const urls = "tls://a.example:4222, tls://b.example:4222";
    expect(optionsOf({ VQD_NATS_URL: urls })).toEqual({
      servers: ["tls://a.example:4222", "tls://b.example:4222"],
      tls: {},
    });
    expect(optionsOf({ VQD_NATS_CA: import.meta.filename }).tls).toEqual({ caFile: import.meta.filename });
  });

  it.each(["VQD_NATS_CREDS", "VQD_NATS_CA", "VQD_NATS_CERT", "VQD_NATS_KEY"])(
    "names %s if its file is missing",
    (variable) => {
      expect(() => optionsOf({ [variable]: "/nowhere/file" })).toThrow(variable);
    },
  );
});
