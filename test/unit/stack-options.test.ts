// Options of `npm start`: defaults, environment, and a clear answer to each mistake.

import { cpSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it } from "vitest";
import { readStartOptions } from "../../infra/stack/options.ts";
import { UsageError } from "../../infra/usage-error.ts";
import { BUNDLED_MODEL, DEFAULT_DATA, REPO } from "../../infra/stack/paths.ts";

const TINY = join(REPO, "test", "fixtures", "tiny", "checkpoint");

let dir: string;
beforeAll(() => {
  dir = mkdtempSync(join(tmpdir(), "vqd-options-"));
});
afterAll(() => rmSync(dir, { recursive: true, force: true }));

it("has defaults for all", () => {
  expect(readStartOptions([], {})).toEqual({
    port: undefined,
    workers: 1,
    apiKey: undefined,
    model: BUNDLED_MODEL,
    provider: "cpu",
    data: DEFAULT_DATA,
    queueLimit: 1_000,
    leaseSeconds: 10,
  });
});

it("reads the environment, and lets the command line win", () => {
  const env = {
    VQD_PORT: "1234",
    VQD_WORKERS: "3",
    VQD_API_KEY: "from-env",
    VQD_MODEL: TINY,
    VQD_PROVIDER: "webgpu",
    VQD_DATA: dir,
    VQD_QUEUE_LIMIT: "7",
    VQD_LEASE_SECONDS: "3",
  };
  const fromEnv = {
    port: 1234,
    workers: 3,
    apiKey: "from-env",
    model: TINY,
    provider: "webgpu",
    data: dir,
    queueLimit: 7,
    leaseSeconds: 3,
  };
  expect(readStartOptions([], env)).toEqual(fromEnv);
  const args = ["--port=0", "--workers", "0", "--api-key", "given", "--provider=cuda"];
  expect(readStartOptions(args, env)).toEqual({
    ...fromEnv,
    port: 0,
    workers: 0,
    apiKey: "given",
    provider: "cuda",
  });
});

it("takes an empty variable for one that is not set", () => {
  expect(readStartOptions([], { VQD_PORT: "", VQD_MODEL: "" })).toEqual(readStartOptions([], {}));
});

it.each([
  [["--prot", "1"], "unknown option --prot"],
  [["-p", "1"], "unknown option -p"],
  [["8787"], 'unexpected argument "8787"'],
  [["--port"], "--port: needs a value"],
  [["--port="], "--port: needs a value"],
  [["--port", "80x"], '--port: must be a whole number from 0 to 65535, not "80x"'],
  [["--port", "65536"], "--port: must be a whole number"],
  [["--port", "-1"], "--port: must be a whole number"],
  [["--workers", "1.5"], "--workers: must be a whole number from 0 to 64"],
  [["--workers", "1e3"], "--workers: must be a whole number"],
  [["--provider", "tpu"], '--provider: must be one of cpu, webgpu, cuda, not "tpu"'],
  [["--api-key", "with space"], "--api-key: must be visible ASCII"],
  [["--model", "/no/such/model"], "--model: no such folder: /no/such/model"],
])("refuses %j", (args, message) => {
  const read = (): unknown => readStartOptions(args, {});
  expect(read).toThrow(UsageError);
  expect(read).toThrow(message);
});

it("names the variable that is wrong", () => {
  expect(() => readStartOptions([], { VQD_WORKERS: "many" })).toThrow("VQD_WORKERS: must be a whole number");
  expect(() => readStartOptions([], { VQD_QUEUE_LIMIT: "0" })).toThrow(
    "VQD_QUEUE_LIMIT: must be a whole number",
  );
});

it("says which file a model folder lacks", () => {
  const model = join(dir, "model");
  cpSync(TINY, model, { recursive: true });
  expect(readStartOptions(["--model", model], {}).model).toBe(model);
  rmSync(join(model, "vqvae", "config.json"));
  expect(() => readStartOptions(["--model", model], {})).toThrow(/no vqvae\/config\.json$/);
});

it("refuses a data folder that is a file", () => {
  const file = join(dir, "file");
  writeFileSync(file, "");
  expect(() => readStartOptions(["--data", file], {})).toThrow(`--data: ${file} is not a folder`);
});
