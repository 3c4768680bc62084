// gpu-check: what it makes of parts that end badly, and its exit status.

import { execFile } from "node:child_process";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { describe, expect, it } from "vitest";
import { runPart } from "../bench/gpu/part-process.ts";
import { withShares } from "../bench/gpu/report.ts";
import { temporaryFolder } from "../support/tiny.ts";

const MAIN = join(import.meta.dirname, "..", "bench", "gpu", "main.ts");
const check = (...args: string[]) => promisify(execFile)(process.execPath, [MAIN, ...args]);

describe("a part's process", () => {
  const LONG = 100;
  const part = async (source: string): Promise<string> => {
    const script = join(await temporaryFolder(), "part.mjs");
    await writeFile(script, source);
    return script;
  };

  it("gives what it has found, and takes the argument", async () => {
    const script = await part(`
      process.send({ type: "done", value: { got: JSON.parse(process.argv[2]) } });
      process.disconnect();`);
    expect(await runPart(script, { a: 1 }, LONG)).toEqual({ status: "done", value: { got: { a: 1 } } });
  });

  it("is a failure if it crashes, with what it has found and how it ended", async () => {
    const script = await part(`
      process.stderr.write("a driver's last words");
      process.send({ type: "partial", value: { sizes: [1] } }, () => process.kill(process.pid, "SIGSEGV"));
      setInterval(() => {}, 1_000);`);
    const result = await runPart(script, {}, LONG);
    expect(result).toMatchObject({ status: "failed", value: { sizes: [1] } });
    expect(result.reason).toMatch(/SIGSEGV.*a driver's last words/);
  });

  it("is not done if it hangs: killed with what it has started, and what it has found is kept", async () => {
    const file = join(await temporaryFolder(), "grandchild");
    const script = await part(`
      import { spawn } from "node:child_process";
      import { writeFileSync } from "node:fs";
      const child = spawn(process.execPath, ["-e", "setInterval(() => {}, 1_000)"], { stdio: "ignore" });
      writeFileSync(${JSON.stringify(file)}, String(child.pid));
      process.send({ type: "partial", value: { sizes: [1, 2] } }, () => { for (;;); });`);
    // Time enough to start, also on a busy machine.
    const result = await runPart(script, {}, 5);
    expect(result).toMatchObject({ status: "not done", value: { sizes: [1, 2] } });
    const grandchild = Number(await readFile(file, "utf8"));
    await expect.poll(() => isRunning(grandchild)).toBe(false);
  });
});

/** A process that was killed may still be in the table until somebody has asked how it ended. */
async function isRunning(pid: number): Promise<boolean> {
  const status = await readFile(`/proc/${pid}/stat`, "utf8").catch(() => "");
  return status !== "" && !/\) Z /.test(status);
}

it("relates steps to the largest product of the same device", () => {
  const parts = { peak: { tera_operations_per_second: 50 }, steps: { sizes: [times(10), times(25)] } };
  const report = { parts, failed: [], not_done: [], pass: true };
  expect(withShares(report).parts["steps"]).toMatchObject({
    sizes: [{ share_of_peak: 0.2 }, { share_of_peak: 0.5 }],
  });
});

const times = (tera: number) => ({
  images: 1,
  step_ms: 1,
  last_step_ms: 1,
  tera_operations_per_second: tera,
  transfer: {},
});

describe("the command", () => {
  it("makes the parts that are named, and says with 0 that all is well", async () => {
    const out = join(await temporaryFolder(), "report.json");
    const args = ["--provider", "cpu", "--small", "--only", "form_fp16,steps", "--out", out];
    const { stdout, stderr } = await check(...args);
    expect(stderr).toBe("form_fp16\nsteps\n");
    expect(stdout).toBe(await readFile(out, "utf8"));
    const report = JSON.parse(stdout) as { parts: { form_fp16: { log_prob_error: number } } };
    // Compared with fp32, not with itself.
    expect(report.parts.form_fp16.log_prob_error).toBeGreaterThan(1e-4);
    expect(report).toMatchObject({
      provider: "cpu",
      parts: {
        form_fp16: { same_most_likely: 1, batch_invariant: true },
        steps: { sizes: [{ images: 1 }, { images: 2 }] },
      },
      failed: [],
      not_done: [],
      pass: true,
    });
  });

  it("says with 3 what there was no time for", async () => {
    const run = check("--provider", "cpu", "--small", "--only", "fallback,tiles", "--seconds", "1");
    const { code, stdout } = (await run.catch((error: unknown) => error)) as { code: number; stdout: string };
    expect(code).toBe(3);
    expect(JSON.parse(stdout)).toMatchObject({
      parts: { fallback: { not_done: "no time left" } },
      failed: [],
      not_done: ["fallback", "tiles"],
      pass: false,
    });
  });

  it("says with 1 which check has failed", async () => {
    // Whatever this machine has, it is not a GPU of that name.
    const env = { ...process.env, VK_ICD_FILENAMES: "/nonexistent", VK_DRIVER_FILES: "/nonexistent" };
    const args = [MAIN, "--provider", "webgpu", "--small", "--only", "fallback"];
    const run = promisify(execFile)(process.execPath, args, { env });
    const { code, stdout } = (await run.catch((error: unknown) => error)) as { code: number; stdout: string };
    expect(code).toBe(1);
    const { parts, failed } = JSON.parse(stdout) as { parts: Record<string, unknown>; failed: string[] };
    expect(failed).toEqual(["fallback"]);
    expect(parts["fallback"]).toMatchObject({ failed: expect.stringContaining("webgpu") as string });
  });

  it("knows its parts", async () => {
    await expect(check("--only", "peek")).rejects.toMatchObject({
      code: 2,
      stderr: "gpu-check: --only: there is no part peek; see --plan\n",
    });
  });
});
