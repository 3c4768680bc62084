// `vqd parity` as users run it: on the CPU, in int8, on WebGPU where there is a driver, and on what it must refuse.

import { spawn } from "node:child_process";
import { copyFile, mkdir, readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { describe, expect, it } from "vitest";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import type { ParityReport } from "../../gpu-worker/parity/parity.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";
import { vulkanDriver } from "../support/vulkan.ts";

const CLI = join(import.meta.dirname, "..", "..", "gpu-worker", "cli.ts");
const VECTORS = join(TINY_CHECKPOINT, "..", "vectors");
const RUNS = ["ten", "partial", "batch_nocfg", "batch_cfg", "given_latents", "full"];

async function parity(args: readonly string[], env: Record<string, string> = {}) {
  const cache = await temporaryFolder();
  const child = spawn(process.execPath, [CLI, "parity", "--cache", cache, "--threads", "1", ...args], {
    stdio: ["ignore", "pipe", "pipe"],
    env: { ...process.env, ...env },
  });
  const exit = new Promise<number | null>((resolve) => {
    child.once("exit", resolve);
  });
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
  return { code, stdout, stderr };
}

const onTiny = ["--checkpoint", TINY_CHECKPOINT, "--vectors", `${VECTORS}.json`];

/** A copy of the vectors with `change` made in the description and, where `tensor` is named, a bit of its data flipped. */
async function changedVectors(change: (description: string) => string, tensor?: string): Promise<string> {
  const dir = join(await temporaryFolder(), "changed");
  await mkdir(dir);
  const path = join(dir, "vectors");
  await writeFile(`${path}.json`, change(await readFile(`${VECTORS}.json`, "utf8")));
  await copyFile(`${VECTORS}.safetensors`, `${path}.safetensors`);
  if (tensor !== undefined) {
    const file = await readFile(`${path}.safetensors`);
    const headerEnd = 8 + Number(file.readBigUInt64LE(0));
    const header = JSON.parse(file.subarray(8, headerEnd).toString()) as Record<
      string,
      { data_offsets: [number, number] }
    >;
    const at = headerEnd + (header[tensor]?.data_offsets[0] ?? 0);
    file.writeUInt8((file[at] ?? 0) ^ 1, at);
    await writeFile(`${path}.safetensors`, file);
  }
  return path;
}

describe("vqd parity", () => {
  it("finds every stage and every run of the tiny checkpoint equal to the reference", async () => {
    const { code, stdout, stderr } = await parity(onTiny);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    const report = JSON.parse(stdout) as ParityReport;
    expect(report).toMatchObject({ provider: "cpu", quantization: "none", pass: true });
    for (const [name, stage] of Object.entries(report.stages)) {
      // Only recorded for models of the original code base.
      if (name === "openai_tokens") continue;
      expect(stage?.cases, name).toBeGreaterThan(0);
      expect(stage?.pass, name).toBe(true);
    }
    expect(Object.keys(report.runs)).toEqual(RUNS);
    for (const run of Object.values(report.runs)) {
      expect(run).toMatchObject({ latentsEqual: true, firstDifference: null, agreement: 1, pass: true });
      expect(run.imageLevels).toBeLessThanOrEqual(1);
    }
  });

  it("has limits of its own for int8, and says how far it is", async () => {
    const { code, stdout } = await parity([...onTiny, "--quantization", "int8", "--runs", "ten"]);
    const report = JSON.parse(stdout) as ParityReport;
    expect(code).toBe(0);
    expect(report.stages["transformer"]?.maxAbsDiff).toBeGreaterThan(1e-3);
    expect(report.stages["posterior"]?.maxAbsDiff).toBeLessThan(2e-4);
    expect(report.runs["ten"]?.steps).toBe(10);
  });

  it.each(["run.ten.latents", "gumbel.argmax", "truncate.kept_0.86", "tokens.hf.tf5.17.0"])(
    "exits with 1 when one bit of %s is another",
    async (tensor) => {
      const path = await changedVectors((description) => description, tensor);
      const { code, stdout } = await parity([
        "--checkpoint",
        TINY_CHECKPOINT,
        "--vectors",
        path,
        "--runs",
        "ten",
      ]);
      expect(code).toBe(1);
      expect((JSON.parse(stdout) as ParityReport).pass).toBe(false);
    },
  );

  it("compares what a set has, and calls the rest null", async () => {
    const path = await changedVectors((description) => {
      const all = JSON.parse(description) as { runs: object };
      return JSON.stringify({ ...all, runs: {} });
    });
    const report = JSON.parse((await parity(["--checkpoint", TINY_CHECKPOINT, "--vectors", path])).stdout);
    expect(report).toMatchObject({ runs: {}, pass: true });
  });

  it.each<[string, string, RegExp]>([
    ['"name": "plain"', '"name": "other"', /vectors\.json: has no prompt "plain"/],
    ["transformer.logp[1, 1]", "transformer.logp", /inputs\.cond: must name a part, such as/],
    ["transformer.logp[1, 1]", "transformer.logp[3, 1]", /tensor transformer\.logp has no part \[3, 1\]/],
  ])("names what is wrong in a set with %s replaced by %s", async (from, to, message) => {
    const path = await changedVectors((description) => {
      expect(description).toContain(from);
      return description.replaceAll(from, to);
    });
    const { code, stderr } = await parity([
      "--checkpoint",
      TINY_CHECKPOINT,
      "--vectors",
      path,
      "--runs",
      "ten",
    ]);
    expect({ code, stderr: stderr.trim().split("\n").length }).toEqual({ code: 1, stderr: 1 });
    expect(stderr).toMatch(message);
  });

  it.each<[number, RegExp, string[]]>([
    [2, /give --vectors FILE/, []],
    [1, /nowhere\.json: the file is missing/, ["--vectors", "nowhere"]],
    [1, /has no run "eleven"/, [...onTiny, "--runs", "ten,eleven"]],
    [
      2,
      /--quantization must be one of none, int8, fp16, w8a16, w4a16/,
      [...onTiny, "--quantization", "int4"],
    ],
    [
      1,
      /tensor tokens\.hf\.tf5\.17\.0 has shape \[19, 77\], the checkpoint implies \[\.\.\., 32\]/,
      ["--checkpoint", BUNDLED_MODEL, "--vectors", `${VECTORS}.safetensors`],
    ],
    [1, /int8 runs on the cpu provider only/, [...onTiny, "--quantization", "int8", "--provider", "webgpu"]],
  ])("exits with %d and one line %j for %j", async (code, message, args) => {
    const result = await parity(args);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toMatch(message);
    expect(result.stderr.trim().split("\n")).toHaveLength(1);
  });
});

describe("on WebGPU", () => {
  it("is equal to the reference within the same limits as on the CPU", async ({ skip }) => {
    const { driver, missing } = vulkanDriver();
    skip(missing !== undefined, missing);
    // A software driver takes seconds a step: the shortest run, which is guided and truncated, stands for all.
    const runs = ["batch_cfg"];
    const { code, stdout, stderr } = await parity(
      [...onTiny, "--provider", "webgpu", "--runs", runs.join()],
      driver === undefined ? {} : { VK_ICD_FILENAMES: driver },
    );
    expect({ code, stderr: code === 0 ? "" : stderr }).toEqual({ code: 0, stderr: "" });
    const report = JSON.parse(stdout) as ParityReport;
    expect(report).toMatchObject({ provider: "webgpu", pass: true });
    expect(Object.keys(report.runs)).toEqual(runs);
  }, 600_000);
});
