// schemathesis, by pip into a folder of the test's own, against a running service: no request that it makes up from the OpenAPI
// document gets an answer that the document does not have, or a 5xx that is not one of capacity.

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const run = promisify(execFile);
const PIP_LIMIT_MS = 240_000;
const RUN_LIMIT_MS = 300_000;

let folder: string;
let missing: string | undefined;
let test: TestStack | undefined;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vqd-schemathesis-"));
  const args = ["-m", "pip", "install", "--quiet", "--target", folder, "schemathesis"];
  await run("python3", args, { timeout: PIP_LIMIT_MS }).catch((error: Error) => {
    missing = `no Python with pip that can install schemathesis: ${error.message.slice(0, 200)}`;
  });
}, PIP_LIMIT_MS);
afterAll(async () => {
  await test?.stop();
  await rm(folder, { recursive: true, force: true });
});

/** What it checks: statuses, content types and bodies of answers, by the document; and that keys are required where it says. */
const CHECKS = [
  "status_code_conformance",
  "content_type_conformance",
  "response_schema_conformance",
  "negative_data_rejection",
  "ignored_auth",
];

it(
  "finds no answer that is not in the document",
  async (context) => {
    if (missing !== undefined) return context.skip(missing);
    const limits = {
      LIVE_LIMIT: "100000",
      RATE_LIMIT_PER_MINUTE: "100000",
      WORK_LIMIT: "100000000",
      MAX_WAIT_SECONDS: "100000",
      QUEUE_TIMEOUT_SECONDS: "2",
      RUN_TIMEOUT_SECONDS: "10",
    };
    test = await startTestStack({ model: TINY_MODEL, edgeEnv: limits });
    const args = ["-m", "schemathesis.cli", "run", `${test.url}/openapi.json`, "--no-color", "--seed", "1"];
    args.push("--header", `Authorization: Bearer ${test.apiKey}`, "--checks", CHECKS.join());
    args.push("--max-examples", "5", "--phases", "examples,coverage,fuzzing", "--max-time", "20");
    args.push(
      "--continue-on-failure",
      "--generation-deterministic",
      "--no-shrink",
      "--request-retries",
      "2",
      "--request-timeout",
      "20",
    );
    const env = { ...process.env, PYTHONPATH: folder };
    const told = await run("python3", args, { env, cwd: folder, maxBuffer: 2 ** 26 }).catch(
      (error: { stdout: string; stderr: string }) => error,
    );
    expect(told.stdout, told.stderr).toMatch(/\n\s+(\d{3,}) generated, \1 passed/);
  },
  RUN_LIMIT_MS,
);
