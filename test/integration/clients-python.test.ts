// Python's openai, replicate and huggingface_hub, by pip into a folder of the test's own.

import { execFile } from "node:child_process";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const run = promisify(execFile);
const MODEL = "vqd/checkpoint";
const PACKAGES = ["openai", "replicate", "huggingface_hub", "pillow"];
const PIP_LIMIT_MS = 240_000;

let folder: string;
let missing: string | undefined;
beforeAll(async () => {
  folder = await mkdtemp(join(tmpdir(), "vqd-python-"));
  const args = ["-m", "pip", "install", "--quiet", "--target", join(folder, "packages"), ...PACKAGES];
  await run("python3", args, { timeout: PIP_LIMIT_MS }).catch((error: Error) => {
    missing = `no Python with pip that can install ${PACKAGES.join(", ")}: ${error.message.slice(0, 200)}`;
  });
}, PIP_LIMIT_MS);

let test: TestStack | undefined;
afterAll(async () => {
  await test?.stop();
  await rm(folder, { recursive: true, force: true });
});

it("their calls work as in JavaScript, and they make the same image", async (context) => {
  if (missing !== undefined) return context.skip(missing);
  test = await startTestStack({ model: TINY_MODEL });
  const script = join(import.meta.dirname, "support", "clients.py");
  const env = { ...process.env, PYTHONPATH: join(folder, "packages"), HF_HOME: folder };
  const { stdout } = await run("python3", [script, test.url, test.apiKey, MODEL, folder], { env });
  const told = stdout.trimEnd().split("\n");
  expect(told.map((line): unknown => JSON.parse(line))).toEqual([
    { check: "openai", size: "32x32", quality: "high", tokens: 8 + 64 },
    {
      check: "openai stream",
      events: [
        "image_generation.partial_image",
        "image_generation.partial_image",
        "image_generation.completed",
      ],
    },
    { check: "openai models", ids: [MODEL] },
    { check: "openai error", param: "background", status: 400 },
    { check: "replicate prediction", status: "succeeded", progress: 1 },
    { check: "replicate stream", kinds: ["done", "logs", "output"] },
    {
      check: "replicate model",
      latest: true,
      same: true,
      found: ["checkpoint"],
      missed: [],
      hardware: [],
      collections: [],
      account: expect.any(String) as string,
    },
    { check: "replicate file", type: "image/png", same: true, listed: true, deleted: true },
    { check: "replicate deployment", model: MODEL, number: 1, status: "succeeded" },
    { check: "replicate list", first: true, status: "canceled" },
    {
      check: "replicate error",
      status: 422,
      detail: expect.stringContaining("input.steps is not a known field") as string,
    },
    {
      check: "huggingface error",
      status: 422,
      message: expect.stringContaining("parameters.num_inference_steps must be at least 1") as string,
    },
  ]);
  const pixels = (name: string): Promise<Buffer> => sharp(join(folder, name)).raw().toBuffer();
  const expected = await pixels("openai.png");
  expect(expected).toHaveLength(32 * 32 * 3);
  for (const name of ["replicate.png", "huggingface.png"])
    expect((await pixels(name)).equals(expected)).toBe(true);
});
