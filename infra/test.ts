// `npm test`: runs vitest on all tests and ends with one line that counts them.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { constants, tmpdir } from "node:os";
import { join } from "node:path";
import { ensureNatsServer } from "./nats/server.ts";
import { DEFAULT_DATA, NODE, REPO } from "./stack/paths.ts";
import { type TestCounts, countLine } from "./test-counts.ts";

const VITEST = join(REPO, "node_modules", "vitest", "vitest.mjs");
const REPORTER = join(REPO, "infra", "test-reporter.ts");

/** The counts of a run that did not get as far as counting. */
const BROKEN_RUN: TestCounts = { passed: 0, failed: 1, skipped: 0 };

async function runVitest(args: readonly string[], natsServer: string): Promise<TestCounts> {
  const dir = mkdtempSync(join(tmpdir(), "vqd-test-"));
  const countsFile = join(dir, "counts.json");
  try {
    const child = spawn(NODE, [VITEST, "run", "--reporter=default", `--reporter=${REPORTER}`, ...args], {
      cwd: REPO,
      stdio: "inherit",
      env: { ...process.env, VQD_TEST_COUNTS: countsFile, VQD_NATS_SERVER: natsServer },
    });
    const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
    for (const signal of signals) process.on(signal, () => child.kill(signal));
    const [code, signal] = (await once(child, "exit")) as [number | null, NodeJS.Signals | null];
    const counts = readCounts(countsFile);
    if (signal !== null) {
      process.stderr.write(`vitest was killed by ${signal}\n`);
      process.exitCode = 128 + constants.signals[signal];
      return { ...counts, failed: Math.max(1, counts.failed) };
    }
    // A run can fail without a failed test: a configuration that cannot be loaded, or an error outside of tests.
    return code === 0 ? counts : { ...counts, failed: Math.max(1, counts.failed) };
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}

function readCounts(path: string): TestCounts {
  try {
    return JSON.parse(readFileSync(path, "utf8")) as TestCounts;
  } catch {
    return BROKEN_RUN;
  }
}

let counts = BROKEN_RUN;
try {
  const server = await ensureNatsServer({
    binDir: join(DEFAULT_DATA, "bin"),
    log: (message) => console.log(message),
  });
  counts = await runVitest(process.argv.slice(2), server.path);
} catch (error) {
  console.error(error instanceof Error ? error.message : error);
}
if (counts.failed > 0 || counts.passed === 0) process.exitCode ??= 1;
console.log(countLine(counts));
