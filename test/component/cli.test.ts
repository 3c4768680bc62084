// The command line as users run it: what it writes, where, and with which exit code.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { cp, readdir, readFile, writeFile } from "node:fs/promises";
import { delimiter, join } from "node:path";
import { text } from "node:stream/consumers";
import { promisify } from "node:util";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { CLI, vqd, vqdIn } from "../support/cli.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

describe("vqd", () => {
  it.each([[], ["--help"], ["-h"]])("lists its commands: %j", async (...args) => {
    const { code, stdout, stderr } = await vqd(...args);
    expect({ code, stderr }).toEqual({ code: 0, stderr: "" });
    expect(stdout).toMatch(/^Usage: vqd <command>.*\n {2}generate/s);
  });

  it.each<[number, RegExp, string[]]>([
    [2, /unknown command "nope"; the commands are generate/, ["nope"]],
    [2, /unknown command "constructor"/, ["constructor"]],
    [2, /an action is missing: vqd models list/, ["models"]],
    [2, /unknown action "demote"/, ["models", "demote", "vqd/a", "0123456"]],
    [2, /VERSION is missing/, ["models", "promote", "vqd/a"]],
    [2, /NAME must look like owner\/name, not "a"/, ["models", "promote", "a", "0123456"]],
    [2, /VERSION must be the first 6 or more/, ["models", "retire", "vqd/a", "01234"]],
    [2, /must be VERSION=N, with a whole number from 1 to 1000/, ["models", "split", "vqd/a", "0123456=0"]],
    [2, /--force has no effect here/, ["models", "list", "--force"]],
    [2, /--wait has no effect here/, ["models", "retire", "vqd/a", "0123456", "--wait", "50"]],
    [2, /give a prompt/, ["generate"]],
    [2, /give a prompt/, ["generate", " "]],
    [2, /in quotes/, ["generate", "red", "apple"]],
    [2, /'--stepz'/, ["generate", "red apple", "--stepz", "3"]],
    [2, /--steps must be an integer from 1 to \d+, not "0"/, ["generate", "red apple", "--steps", "0"]],
    [2, /--seed must be an integer/, ["generate", "red apple", "--seed=-2"]],
    [2, /--seed must be .* to 2\^64 - 1/, ["generate", "red apple", "--seed", "18446744073709551616"]],
    [2, /--seeds must be 1, one per image/, ["generate", "red apple", "--seeds", "1,2"]],
    [2, /together with --seed/, ["generate", "red apple", "--seed", "1", "--seeds", "1"]],
    [
      2,
      /--negative-prompt has no effect with --guidance-scale 1,/,
      ["generate", "a", "--negative-prompt", "b", "--guidance-scale", "1", "--model", TINY_CHECKPOINT],
    ],
    [
      2,
      /the prompt has \d+ tokens; the model reads only the first \d+$/m,
      ["generate", "a ".repeat(300), "--prompt-too-long", "error", "--model", TINY_CHECKPOINT],
    ],
    [2, /--seed must be an integer/, ["generate", "red apple", "--seed", "1.5"]],
    [2, /--guidance-scale must be a number/, ["generate", "red apple", "--guidance-scale", "much"]],
    [2, /--truncation-rate must be a number/, ["generate", "red apple", "--truncation-rate", "0"]],
    [2, /--scheduler must be one of reference, strided/, ["generate", "red apple", "--scheduler", "ddim"]],
    [2, /--prior-rule must be one of 0, 1, 2/, ["generate", "red apple", "--prior-rule", "3"]],
    [2, /--prior-weight must be a number from 0 to 10/, ["generate", "red apple", "--prior-weight", "11"]],
    [
      2,
      /--prior-weight only has an effect with --prior-rule 2/,
      ["generate", "red apple", "--prior-weight", "1"],
    ],
    [2, /--order must be one of posterior, confidence, halton/, ["generate", "red apple", "--order", "x"]],
    [2, /--temperature must be a number from 0.01 to 2/, ["generate", "red apple", "--temperature", "0"]],
    [2, /--remasking must be a number from 0 to 1/, ["generate", "red apple", "--remasking", "2"]],
    [
      2,
      /--remasking has no effect with --order "posterior"/,
      ["generate", "red apple", "--order", "posterior", "--remasking", "0.1"],
    ],
    [
      2,
      /--prior-rule must be 0 with --order "halton"/,
      ["generate", "red apple", "--order", "halton", "--prior-rule", "1"],
    ],
    [
      2,
      /--preset must be one of draft, fast, best, reference/,
      ["generate", "red apple", "--preset", "great"],
    ],
    [2, /--format must be one of png, webp, jpeg/, ["generate", "red apple", "--format", "gif"]],
    [2, /--out ends in ".gif"/, ["generate", "red apple", "--out", "apple.gif"]],
    [2, /--provider must be one of cpu, webgpu, cuda/, ["generate", "red apple", "--provider", "abacus"]],
    [1, /\/no\/such\/model: no such folder/, ["generate", "red apple", "--model", "/no/such/model"]],
    [
      1,
      /numInferenceSteps .* from 1 to 100/,
      ["generate", "a", "--model", TINY_CHECKPOINT, "--steps", "101"],
    ],
  ])("exits with %d and one line %j for %j", async (code, message, args) => {
    const cache = ["--cache", await temporaryFolder()];
    const result = await vqd(...args, ...(args[0] === "generate" ? cache : []));
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toMatch(/^vqd: [^\n]+\n$/);
  });
});

it("goes on to its end when nobody reads what it says", async () => {
  const args = [CLI, "inspect", TINY_CHECKPOINT, "--tensors", "--json"];
  const child = spawn(process.execPath, args, { stdio: ["ignore", "pipe", "pipe"] });
  child.stdout.destroy();
  const [errors, [code]] = await Promise.all([text(child.stderr), once(child, "exit")]);
  expect({ code, errors }).toEqual({ code: 0, errors: "" });
});

it("is what npm run worker runs, with its arguments", async () => {
  const worker = (...args: string[]) =>
    promisify(execFile)(process.execPath, [join(REPO, "infra", "run.mjs"), "worker", ...args]);
  expect((await worker("--help")).stdout).toMatch(/^Usage: vqd worker\n/);
  await expect(worker("--slots", "2")).rejects.toMatchObject({
    code: 2,
    stderr: expect.stringMatching(/^vqd: Unknown option '--slots'/) as string,
  });
});

/** The image that the tiny checkpoint makes with these settings, in base64. */
async function generated(dir: string, settings: string): Promise<string> {
  const out = join(dir, "image.png");
  const args = `--model ${TINY_CHECKPOINT} --cache ${dir} --seed 7 --out ${out} ${settings}`
    .trim()
    .split(/ +/);
  expect(await vqd("generate", "red apple", ...args)).toMatchObject({ code: 0 });
  return readFile(out, "base64");
}

describe("vqd generate", () => {
  it("says how it is used", async () => {
    const { code, stdout } = await vqd("generate", "--help");
    expect(code).toBe(0);
    expect(stdout).toMatch(/^Usage: vqd generate PROMPT/);
  });

  it("takes the first folder of several, and empty variables for unset", async () => {
    const cwd = await temporaryFolder();
    const VQD_MODEL = ["", TINY_CHECKPOINT, "/no/such/model"].join(delimiter);
    const env = { VQD_MODEL, VQD_THREADS: "", VQD_CACHE: "" };
    expect(await vqdIn({ cwd, env }, "generate", "red apple", "--steps", "2")).toMatchObject({ code: 0 });
    expect(await readdir(cwd)).toEqual(["image.png"]);
    expect(await vqdIn({ cwd, env }, "parity", "--vectors", "none.json")).toMatchObject({
      stderr: expect.not.stringContaining("--threads") as string,
    });
  });

  it("says before the work that there is no place for the image", async () => {
    const dir = await temporaryFolder();
    await writeFile(join(dir, "file"), "");
    const out = ["--out", join(dir, "file", "a.png"), "--model", "/no/such/model"];
    const { code, stderr } = await vqd("generate", "red apple", ...out);
    expect(code).toBe(1);
    expect(stderr).toMatch(/^vqd: E\w+: [^\n]*mkdir [^\n]*\n$/);
  });

  it("writes the same file from the same seed, and another from another", async () => {
    const dir = await temporaryFolder();
    const make = async (name: string, seed: number): Promise<Buffer> => {
      const out = join(dir, "new", name);
      const model = ["--model", TINY_CHECKPOINT, "--cache", dir, "--steps", "10"];
      const result = await vqd("generate", "red apple", ...model, "--seed", `${seed}`, "--out", out);
      expect(result).toMatchObject({ code: 0, stdout: `${out}\n` });
      expect(result.stderr).toMatch(/denoising 10\/10 .* steps\/s\n/);
      expect(result.stderr).toMatch(new RegExp(`seed ${seed}, [\\d.]+ s\n$`));
      return readFile(out);
    };
    const first = await make("first.png", 7);
    expect((await make("again.png", 7)).equals(first)).toBe(true);
    expect((await make("other.png", 8)).equals(first)).toBe(false);
    expect(await sharp(first).metadata()).toMatchObject({ format: "png", width: 16, height: 16 });
  });

  it("takes the sampler's settings", async () => {
    const dir = await temporaryFolder();
    const make = (settings: string) => generated(dir, `--steps 3 ${settings}`);
    const images = [
      await make(""),
      await make("--temperature 1"),
      await make("--order halton"),
      await make("--remasking 0.5"),
      await make("--preset reference"),
      await make("--preset reference --scheduler strided"),
      await make("--prior-rule 1"),
      await make("--prior-rule 2 --prior-weight 9"),
    ];
    expect(new Set(images).size).toBe(8);
  });

  it("takes what a preset says, but for what is given beside it, and without one what the help says", async () => {
    const dir = await temporaryFolder();
    const make = (settings: string) => generated(dir, settings);
    const plain = await make("");
    expect(await make("--steps 25 --scheduler strided --order confidence --temperature 0.5")).toBe(plain);
    expect(await make("--preset best")).toBe(plain);
    const reference = await make("--preset reference");
    expect(await make("--steps 100 --scheduler reference --order posterior --temperature 1")).toBe(reference);
    const few = await make("--preset reference --steps 5 --prior-rule 1");
    expect(await make("--steps 5 --scheduler reference --prior-rule 1 --temperature 1")).toBe(few);
    const others = [await make("--preset draft"), await make("--preset fast")];
    expect(new Set([plain, reference, few, ...others]).size).toBe(5);
  });

  it("takes all steps of a model that has fewer than 100, as vqd golden does", async () => {
    const dir = await temporaryFolder();
    const model = join(dir, "few");
    await cp(TINY_CHECKPOINT, model, { recursive: true });
    const path = join(model, "scheduler", "scheduler_config.json");
    const config = JSON.parse(await readFile(path, "utf8")) as object;
    await writeFile(path, JSON.stringify({ ...config, num_train_timesteps: 50 }));
    const out = join(dir, "few.png");
    const made = await vqd(
      "generate",
      "red apple",
      "--preset",
      "reference",
      "--model",
      model,
      "--cache",
      dir,
      "--out",
      out,
    );
    expect(made).toMatchObject({ code: 0, stdout: `${out}\n` });
    expect(made.stderr).toMatch(/denoising 50\/50 /);
    const recorded = await vqd("golden", model, "--cache", dir);
    expect(recorded).toMatchObject({ code: 0, stderr: "" });
    const golden = await readFile(join(model, "golden.json"), "utf8");
    expect(JSON.parse(golden)).toMatchObject({
      cases: [{ timestep: 15 }, { timestep: 34 }, { timestep: 49 }],
    });
  });

  it("numbers several images, in the format asked for", async () => {
    const dir = await temporaryFolder();
    const out = join(dir, "a.b.webp");
    const model = ["--model", TINY_CHECKPOINT, "--cache", dir, "--steps", "2", "--negative-prompt", "blue"];
    const { code, stdout } = await vqd("generate", "red apple", ...model, "--num-images", "2", "--out", out);
    expect(code).toBe(0);
    expect(stdout).toBe(`${join(dir, "a.b-0.webp")}\n${join(dir, "a.b-1.webp")}\n`);
    expect(await sharp(join(dir, "a.b-1.webp")).metadata()).toMatchObject({ format: "webp", width: 16 });
  });
});
