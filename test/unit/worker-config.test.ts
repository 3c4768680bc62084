// The worker's environment: defaults, and errors that name the variable.

import { delimiter } from "node:path";
import { expect, it } from "vitest";
import { readConfig } from "../../gpu-worker/config.ts";
import { defaultModelName } from "../../gpu-worker/manifest.ts";
import { modelNameSchema } from "@vqd/shared/model.ts";

it("serves the bundled model on the CPU by default, and takes an empty variable for unset", () => {
  const config = readConfig({ VQD_PROVIDER: "", VQD_THREADS: "3" });
  expect(config).toMatchObject({ provider: "cpu", threads: 3, slots: 1, leaseMs: 10_000, maxAttempts: 3 });
  expect(config).toMatchObject({ stallMs: 10_000, stateEvery: 1, modelBytes: Infinity });
  expect(config.models).toEqual([{ dir: expect.stringMatching(/emoji-flat$/) as string, name: undefined }]);
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
  ["VQD_LEASE_SECONDS", "-1"],
  ["VQD_HEALTH_PORT", "70000"],
  ["VQD_MODEL_NAME", "no-owner"],
])("refuses %s=%s by name", (variable, value) => {
  expect(() => readConfig({ [variable]: value })).toThrow(variable);
});

it.each([
  ["/models/emoji-flat", "vqd/emoji-flat"],
  ["./My Model.v2", "vqd/my-model-v2"],
  ["/x/--odd--", "vqd/odd"],
  ["/x/日本", "vqd/model"],
])("names the model in %s %s", (folder, name) => {
  expect(defaultModelName(folder)).toBe(name);
  expect(modelNameSchema.safeParse(name).success).toBe(true);
});
