// The recipe of the bundled model, end to end in its smoke mode, and what it writes in our pipeline.

import { execFile, execFileSync } from "node:child_process";
import { copyFileSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, expect, it } from "vitest";
import { startTestStack } from "./support/stack.ts";

const ROOT = join(import.meta.dirname, "..", "..");
const PYTHON = process.env["VQD_TRAIN_PYTHON"] ?? "python3";
const HOME = mkdtempSync(join(tmpdir(), "vqd-train-"));
const CHECKPOINT = join(HOME, "smoke-model");
const WEIGHTS = "transformer/diffusion_pytorch_model.safetensors";
const API_KEY = "key-of-the-evaluation";
const run = promisify(execFile);

/** Why the recipe cannot run here; undefined where it can. */
function missing(): string | undefined {
  try {
    execFileSync(PYTHON, ["-c", "import torch, numpy, PIL; torch.optim.Muon"], { stdio: "ignore" });
    return undefined;
  } catch {
    return `${PYTHON} lacks torch, numpy or Pillow (VQD_TRAIN_PYTHON names another)`;
  }
}

async function stage(...args: string[]): Promise<string> {
  const options = ["--smoke", "--home", HOME];
  const { stdout } = await run(PYTHON, ["-m", "vqtrain", ...args, ...options], {
    cwd: join(ROOT, "infra", "train"),
    env: { ...process.env, PYTHONDONTWRITEBYTECODE: "1", VQD_API_KEY: API_KEY },
  });
  return stdout;
}

const reportOf = (name: string): Record<string, unknown> =>
  JSON.parse(readFileSync(join(HOME, `${name}.json`), "utf8")) as Record<string, unknown>;

const lastFigures = (log: string): Record<string, number> =>
  JSON.parse(log.trim().split("\n").at(-1) ?? "") as Record<string, number>;

afterAll(() => rmSync(HOME, { recursive: true, force: true }));

// Some twenty starts of Python and torch: a minute on an idle machine, minutes on a busy one.
it("trains, stops and resumes, exports and measures a tiny model that our pipeline runs", async ({
  skip,
}) => {
  const reason = missing();
  skip(reason !== undefined, reason);
  await stage("prepare");
  await stage("words");
  await stage("vqvae", "--max-seconds", "1");
  const vqvae = await stage("vqvae");
  // The second run went on where the first was stopped.
  expect(vqvae).not.toContain('"images": 0');
  expect(vqvae).toContain('"images": 200');
  await stage("tokens");
  expect(await stage("decoder")).toContain('"images": 80');
  const nats = lastFigures(await stage("transformer"))["plain"];
  // 64 codes: ln 64 = 4.16 nats are those of a guess.
  expect(nats).toBeLessThan(4.1);

  await stage("export", CHECKPOINT);
  expect(readFileSync(join(CHECKPOINT, "vocabulary.txt"), "utf8").split("\n")).toContain("red");
  const tokens = (name: string): string => join(HOME, "runs", name, "tokens.npz");
  mkdirSync(join(HOME, "runs", "second"));
  copyFileSync(tokens("smoke"), tokens("second"));
  const second = ["--name", "second", "--warm-start", CHECKPOINT, "--max-samples", "64", "--processes", "2"];
  expect(lastFigures(await stage("transformer", ...second))["plain"]).toBeCloseTo(nats ?? 0, 1);

  await stage("snapshot", join(HOME, "snapshot"));
  await stage("restore", join(HOME, "snapshot"), "--name", "third");
  copyFileSync(tokens("smoke"), tokens("third"));
  const third = lastFigures(await stage("transformer", "--name", "third"));
  expect(third["samples"]).toBe(1600);
  expect(third["plain"]).toBeCloseTo(nats ?? 0, 1);

  const misfit = stage("vqvae", "--name", "fourth", "--warm-start", join(CHECKPOINT, WEIGHTS));
  await expect(misfit).rejects.toThrow(/cannot begin with \S+: \S+ is missing there\n/);

  await stage("reader");
  const few = ["--scenes", "2"];
  await stage("evaluate", CHECKPOINT, join(HOME, "report"), "--steps", "3", ...few);
  const report = reportOf("report");
  expect(report["plain"]).toHaveProperty("right");
  expect(report["colour pair, held out"]).toHaveProperty("other_colour");

  const { url, stop } = await startTestStack({ workers: 1, model: CHECKPOINT, apiKey: API_KEY });
  try {
    await stage("evaluate", CHECKPOINT, join(HOME, "served"), "--api", `${url}/v1`, ...few);
  } finally {
    await stop();
  }
  const served = reportOf("served");
  expect(served["settings"]).toMatchObject({ steps: "the service's default" });
  expect(served["plain"]).toMatchObject({ decoded: (report["plain"] as { decoded: number }).decoded });
  const sheet = join(HOME, "sheet.png");
  const prompts = join(HOME, "prompts.txt");
  writeFileSync(prompts, "red car\na happy dog\n");
  await stage("sheet", CHECKPOINT, prompts, sheet, "--steps", "2");
  expect(readFileSync(sheet).subarray(1, 4).toString()).toBe("PNG");
  await stage("plot", join(HOME, "plots"));

  const cli = join(ROOT, "gpu-worker", "cli.ts");
  const { stdout } = await run(process.execPath, [cli, "inspect", CHECKPOINT]);
  expect(stdout).toContain("no problems");
  const picture = join(HOME, "picture.png");
  const options = ["--model", CHECKPOINT, "--steps", "3", "--cache", join(HOME, "cache"), "--out", picture];
  await run(process.execPath, [cli, "generate", "grinning face", ...options]);
  expect(readFileSync(picture).subarray(1, 4).toString()).toBe("PNG");
}, 600_000);
