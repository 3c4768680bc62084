// The benches and the chaos run as commands: what they answer to mistakes, and what they leave behind.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { temporaryFolder } from "../support/tiny.ts";

const run = (script: string, ...args: string[]) =>
  promisify(execFile)(process.execPath, [join(REPO, "test", script), ...args]);

it.each(["chaos/main.ts", "bench/main.ts", "bench/quantization.ts"])(
  "%s has a help, and a line for an option that it does not know",
  async (script) => {
    expect((await run(script, "--help")).stdout).toMatch(/^Usage: /);
    await expect(run(script, "--bogus")).rejects.toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/^\w+: Unknown option '--bogus'[^\n]*\n$/) as string,
    });
  },
);

it("leaves no files in the temporary folder when a bench is stopped", async () => {
  const folder = await temporaryFolder();
  const bench = spawn(process.execPath, [join(REPO, "test", "bench", "main.ts"), "--shape", "bundled"], {
    env: { ...process.env, TMPDIR: folder },
    stdio: "ignore",
  });
  const exited = once(bench, "exit");
  await expect.poll(() => readdirSync(folder).length, { timeout: 30_000 }).toBeGreaterThan(0);
  bench.kill("SIGTERM");
  expect(await exited).toEqual([130, null]);
  expect(readdirSync(folder)).toEqual([]);
});
