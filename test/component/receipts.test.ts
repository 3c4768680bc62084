// Receipts of images: what they say can be made again, step by step, and nothing in them can be changed.

import { generateKeyPairSync } from "node:crypto";
import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import * as fc from "fast-check";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { openReceipt, type Receipt, signReceipt } from "../../shared/receipts/receipt.ts";
import { readReceipt, type ReceiptFile } from "../../gpu-worker/receipts/file.ts";
import { ReceiptRecorder } from "../../gpu-worker/receipts/recorder.ts";
import { verifyReceipt } from "../../gpu-worker/receipts/verify.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { vqd } from "../support/cli.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const RECEIPTS = 50;
const STEPS = 4;
const SAMPLERS = [
  { scheduler: "reference", order: "posterior", remasking: 0, priorRule: 0, priorWeight: 0 },
  { scheduler: "strided", order: "confidence", remasking: 0.2, priorRule: 0, priorWeight: 0 },
  { scheduler: "strided", order: "halton", remasking: 0, priorRule: 0, priorWeight: 0 },
  { scheduler: "strided", order: "posterior", remasking: 0, priorRule: 2, priorWeight: 1 },
] as const;

const pair = () => {
  const { privateKey, publicKey } = generateKeyPairSync("ed25519");
  return {
    privateKey: privateKey.toCryptoKey("Ed25519", false, ["sign"]) as CryptoKey,
    publicKey: publicKey.toCryptoKey("Ed25519", true, ["verify"]) as CryptoKey,
    pem: privateKey.export({ type: "pkcs8", format: "pem" }),
    publicPem: publicKey.export({ type: "spki", format: "pem" }),
  };
};

let pipeline: VQDiffusionPipeline;
let dir: string;
const keys = pair();
beforeAll(async () => {
  dir = await temporaryFolder();
  pipeline = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, { cacheDir: join(dir, "cache") });
});
afterAll(() => pipeline.release());

/** Of image `n`: prompts, samplers, guidance and starts that have no common period. */
async function receiptOf(n: number, privateKey = keys.privateKey): Promise<ReceiptFile> {
  const recorder = new ReceiptRecorder(privateKey);
  const sampler = SAMPLERS[n % SAMPLERS.length] ?? SAMPLERS[0];
  const prompt = ["red apple", "a cat", "house"][n % 3] ?? "";
  const settings = {
    ...sampler,
    numInferenceSteps: STEPS,
    guidanceScale: [1, 3][n % 2] ?? 1,
    truncationRate: [1, 0.9, 1][n % 3] ?? 1,
    temperature: [1, 0.7][Math.floor(n / 2) % 2] ?? 1,
  };
  const latents = Uint16Array.from({ length: 64 }, (_, i) => (i * (n + 3)) % 128);
  const held = Uint8Array.from(latents, (_, i) => i % 2);
  const start = n % 5 === 4 ? { latents: [latents], held, strength: 0.8 } : {};
  await pipeline.call({
    prompt,
    ...settings,
    ...start,
    seed: n,
    outputType: "latents",
    onStart: recorder.onStart,
    onStep: recorder.onStep,
  });
  const made = { ...settings, prompt: pipeline.tokenize(prompt).ids, negativePrompt: null, seed: n };
  const path = join(dir, `${n}.json`);
  await writeFile(path, await recorder.receiptOf(0, made, pipeline.info));
  return readReceipt(path);
}

const stepsOf = ({ firstStep }: Receipt, { states }: ReceiptFile): number[] =>
  states.slice(1).map((_, i) => firstStep + 1 + i);

describe("a receipt", () => {
  it(`holds what makes each of its steps again, ${RECEIPTS} times`, async () => {
    for (let n = 0; n < RECEIPTS; n++) {
      const file = await receiptOf(n);
      const receipt = await openReceipt(file.receipt, keys.publicKey);
      const steps = stepsOf(receipt, file);
      expect(steps.at(-1)).toBe(STEPS);
      await verifyReceipt(pipeline, receipt, file.states, steps);
    }
  });

  it("is refused when any character of it is another", async () => {
    const { receipt } = await receiptOf(1);
    const characters = fc.constantFrom("A", "B", "a", "b", "0", "9", "-", "_", ".");
    await fc.assert(
      fc.asyncProperty(fc.nat(receipt.length - 1), characters, async (at, other) => {
        fc.pre(receipt[at] !== other);
        const changed = receipt.slice(0, at) + other + receipt.slice(at + 1);
        await expect(openReceipt(changed, keys.publicKey)).rejects.toThrow(
          /^the receipt (is not|was changed)/,
        );
      }),
      { numRuns: 300 },
    );
    await expect(openReceipt(receipt, pair().publicKey)).rejects.toThrow(
      "was changed, or signed with another key",
    );
  });

  it("does not fit tokens of which any is another", async () => {
    const file = await receiptOf(4);
    const receipt = await openReceipt(file.receipt, keys.publicKey);
    const anyToken = fc.tuple(fc.nat(file.states.length - 1), fc.nat(63), fc.integer({ min: 1, max: 127 }));
    await fc.assert(
      fc.asyncProperty(anyToken, async ([state, place, by]) => {
        const states = file.states.map((tokens) => tokens.slice());
        const tokens = states[state] ?? new Uint16Array();
        tokens[place] = ((tokens[place] ?? 0) + by) % 128;
        const step = receipt.firstStep + state;
        await expect(verifyReceipt(pipeline, receipt, states, [])).rejects.toThrow(
          `the tokens after step ${step} are not`,
        );
      }),
      { numRuns: 50 },
    );
    const fewer = file.states.slice(0, -1);
    await expect(verifyReceipt(pipeline, receipt, fewer, [])).rejects.toThrow(
      "are not those that were signed",
    );
  });

  it.each<[string, Partial<Receipt>]>([
    ["another seed", { seed: 99 }],
    ["another place of the seed", { place: 1 }],
    ["another prompt", { prompt: new Array<number>(77).fill(5) }],
    ["another guidance scale", { guidanceScale: 1 }],
    ["another temperature", { temperature: 0.1 }],
    ["another number of steps", { numInferenceSteps: 9 }],
    ["another order", { order: "halton" }],
  ])("that says %s is found out, even if it is signed", async (_, lie) => {
    const file = await receiptOf(1);
    const receipt = { ...(await openReceipt(file.receipt, keys.publicKey)), ...lie };
    const signed = await openReceipt(await signReceipt(receipt, keys.privateKey), keys.publicKey);
    expect(signed).toEqual(receipt);
    const checked = verifyReceipt(pipeline, signed, file.states, stepsOf(receipt, file));
    await expect(checked).rejects.toThrow(/^step \d makes \d+ other tokens than it says/);
  });

  it("of other weights or numerics is not judged", async () => {
    const file = await receiptOf(0);
    const receipt = await openReceipt(file.receipt, keys.publicKey);
    const check = (other: Partial<Receipt>) =>
      verifyReceipt(pipeline, { ...receipt, ...other }, file.states, [1]);
    await expect(check({ version: "ab".repeat(32) })).rejects.toThrow(
      "is of model version abababababab, not",
    );
    await expect(check({ numericsId: "other" })).rejects.toThrow("made with the numerics other");
    await expect(verifyReceipt(pipeline, receipt, file.states, [9])).rejects.toThrow(
      "has the steps 1 to 4, and no step 9",
    );
  });
});

describe("vqd generate --receipt and vqd verify", () => {
  const at = (name: string): string => join(dir, name);
  const run = (...args: string[]) =>
    vqd(...args, "--model", TINY_CHECKPOINT, "--cache", at("cache"), "--quantization", "none");

  it("are a pair", async () => {
    await Promise.all([writeFile(at("key.pem"), keys.pem), writeFile(at("public.pem"), keys.publicPem)]);
    const out = ["--out", at("a.png"), "--receipt", at("a.json"), "--sign-key", at("key.pem")];
    const made = await run("generate", "red apple", "--steps", "5", "--num-images", "2", ...out);
    expect(made).toMatchObject({ code: 0 });
    expect(made.stdout.split("\n")).toContain(at("a-1.json"));
    const all = await run("verify", at("a-1.json"), "--public-key", at("public.pem"));
    expect(all).toMatchObject({ code: 0, stderr: "" });
    expect(all.stdout).toMatch(/a-1\.json: signed, and 5 of 5 steps made again, \d+\.\d s\n$/);
    const one = await run("verify", at("a-1.json"), "--public-key", at("public.pem"), "--step", "3");
    expect(one.stdout).toMatch(/1 of 5 steps/);
    const file = JSON.parse(await readFile(at("a-1.json"), "utf8")) as { receipt: string; states: string[] };
    await writeFile(at("b.json"), JSON.stringify({ ...file, states: file.states.toReversed() }));
    const changed = await run("verify", at("b.json"), "--public-key", at("public.pem"));
    expect(changed).toMatchObject({ code: 1, stdout: "" });
    expect(changed.stderr).toMatch(/^vqd: the tokens after step 0 are not those that were signed\n$/);
  });

  it.each([
    [2, /--receipt needs --sign-key/, ["generate", "x", "--receipt", "r.json"]],
    [2, /--sign-key needs --receipt/, ["generate", "x", "--sign-key", "k.pem"]],
    [1, /k\.pem: no such file/, ["generate", "x", "--receipt", "r.json", "--sign-key", "/no/k.pem"]],
    [2, /--public-key is missing/, ["verify", "r.json"]],
    [1, /r\.json: ENOENT/, ["verify", "/no/r.json", "--public-key", "k.pem"]],
  ])("exit with %d and one line %j for %j", async (code, message, args) => {
    const result = await run(...args);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toMatch(message);
  });
});
