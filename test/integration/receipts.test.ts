// Receipts signed by a running service, of images that a real worker has made: anybody with the model can check them.

import { createPublicKey } from "node:crypto";
import { mkdtemp, readFile, rm, stat, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { openReceipt } from "@vqd/shared/receipts/receipt.ts";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { readReceipt } from "../../gpu-worker/receipts/file.ts";
import { readPublicKey } from "../../gpu-worker/receipts/keys.ts";
import { verifyReceipt } from "../../gpu-worker/receipts/verify.ts";
import { vqd } from "../support/cli.ts";
import { createPrediction, getPrediction, readEvents, request, stepNumbers } from "./support/client.ts";
import { writeShortModel } from "./support/short-model.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const STEPS = 12;
const RUN = { prompt: "red apple, flat style", num_inference_steps: STEPS, guidance_scale: 3, seed: 11 };

let test: TestStack;
let dir: string;
let model: string;
let pipeline: VQDiffusionPipeline;
const at = (name: string): string => join(dir, name);
beforeAll(async () => {
  dir = await mkdtemp(join(tmpdir(), "vqd-receipts-"));
  model = writeShortModel(dir);
  test = await startTestStack({ model, workers: 2, leaseSeconds: 3 });
  const keys = await fetch(`${test.url}/.well-known/vqd-receipts.json`);
  expect(keys.status).toBe(200);
  await writeFile(at("keys.json"), await keys.text());
  pipeline = await VQDiffusionPipeline.fromPretrained(model, {
    cacheDir: test.cacheDir,
    quantization: "int8",
  });
});
afterAll(async () => {
  await pipeline.release();
  await test.stop();
  await rm(dir, { recursive: true, force: true });
});

async function make(input: Record<string, unknown>): Promise<string> {
  const { id, status, error } = await createPrediction(test, { ...RUN, ...input }, { prefer: "wait=60" });
  expect([status, error]).toEqual(["succeeded", null]);
  return id;
}

/** Fetches an image's receipt into a file, and checks it whole. */
async function verified(id: string, index = 0) {
  const response = await request(test, `/v1/predictions/${id}/receipt?index=${index}`);
  expect(response.status).toBe(200);
  const path = at(`${id}-${index}.json`);
  await writeFile(path, await response.text());
  const { receipt: jws, states } = readReceipt(path);
  const receipt = await openReceipt(jws, readPublicKey(at("keys.json")) as CryptoKey);
  const steps = states.slice(1).map((_, i) => receipt.firstStep + 1 + i);
  expect(steps.at(-1)).toBe(receipt.numInferenceSteps);
  await verifyReceipt(pipeline, receipt, states, steps);
  return { receipt, states, path };
}

/** With a left half that is held. */
async function edit() {
  const raw = { width: 32, height: 32, channels: 3 } as const;
  const picture = (value: (i: number) => number): Promise<string> =>
    sharp(
      Uint8Array.from({ length: 3 * 32 * 32 }, (_, i) => value(i)),
      { raw },
    )
      .png()
      .toBuffer()
      .then((bytes) => `data:image/png;base64,${bytes.toString("base64")}`);
  return {
    image: await picture((i) => (i * 97 + (i >> 3) * 31) % 256),
    mask: await picture((i) => (Math.floor(i / 3) % 32 < 16 ? 0 : 255)),
  };
}

describe("a receipt of the service", () => {
  it.each([
    ["each of two images", { num_outputs: 2, preset: "reference" }],
    ["an order that masks again", { order: "confidence", remasking: 0.2, temperature: 0.7 }],
    ["purity sampling", { scheduler: "strided", order: "posterior", prior_rule: 2, prior_weight: 1 }],
    [
      "seeds beyond 2^53, and one twice",
      { seed: null, seeds: ["18446744073709551615", 3, 3], num_outputs: 3 },
    ],
  ])("fits %s", async (_, input) => {
    const id = await make(input);
    const count = "num_outputs" in input ? input.num_outputs : 1;
    for (let index = 0; index < count; index++) await verified(id, index);
  });

  it.each([1, 0.995, 0.5])("fits an edit with strength %d, and a fork of it", async (strength) => {
    const id = await make({ ...(await edit()), strength });
    const { receipt, states } = await verified(id);
    const held = Array.from(receipt.held ?? "", Number);
    expect(held.filter((bit) => bit === 1).length * 2).toBe(held.length);
    for (const state of states) {
      for (const [i, bit] of held.entries()) if (bit === 1) expect(state[i]).toBe(states[0]?.[i]);
    }
    const step = receipt.firstStep + 2;
    const fork = await make({ from: { prediction: id, step }, prompt: "dog face, noto style" });
    const forked = await verified(fork);
    expect([forked.receipt.firstStep, forked.receipt.held]).toEqual([step, receipt.held]);
    expect(forked.states[0]).toEqual(states[2]);
  });

  it("fits an image that a second worker has finished", async () => {
    const { id } = await createPrediction(test, { ...RUN, num_inference_steps: 40, ...(await edit()) });
    const events = [];
    for await (const event of readEvents(test, id)) {
      events.push(event);
      if (event.event === "step" && stepNumbers(events).length === 5) {
        await expect
          .poll(() => test.lines.some(({ text }) => text.startsWith("job started") && text.includes(id)))
          .toBe(true);
        await test.stack.workers[test.workerOf(id) - 1]?.kill("SIGKILL");
      }
    }
    const { status } = await getPrediction(test, id);
    expect(status).toBe("succeeded");
    const attempts = test.lines.filter(({ text }) => text.startsWith("job started") && text.includes(id));
    expect(attempts).toHaveLength(2);
    const { states } = await verified(id);
    expect(states).toHaveLength(41);
    await test.stack.waitReady();
  });

  it("is what `vqd verify` takes, with the service's public key, and refuses once a bit is another", async () => {
    const { path } = await verified(await make({ num_inference_steps: 4 }));
    const run = (file: string) =>
      vqd(
        "verify",
        file,
        "--public-key",
        at("keys.json"),
        "--step",
        "3",
        "--model",
        model,
        "--cache",
        test.cacheDir,
      );
    const right = await run(path);
    expect(right).toMatchObject({ code: 0, stderr: "" });
    expect(right.stdout).toMatch(/signed, and 1 of 4 steps made again/);
    const file = JSON.parse(await readFile(path, "utf8")) as { receipt: string; states: string[] };
    const [header = "", payload = "", signature = ""] = file.receipt.split(".");
    const flip = (text: string, encoding: "base64" | "base64url"): string => {
      const bytes = Buffer.from(text, encoding);
      bytes[40] = (bytes[40] ?? 0) ^ 1;
      return bytes.toString(encoding);
    };
    for (const changed of [
      { ...file, receipt: [header, flip(payload, "base64url"), signature].join(".") },
      { ...file, receipt: [header, payload, flip(signature, "base64url")].join(".") },
      { ...file, states: file.states.with(1, flip(file.states[1] ?? "", "base64")) },
    ]) {
      await writeFile(at("changed.json"), JSON.stringify(changed));
      const { code, stderr } = await run(at("changed.json"));
      expect([code, stderr]).toEqual([
        1,
        expect.stringMatching(/was changed|are not those that were signed/),
      ]);
    }
  });

  it("is signed with a key that only its user may read, and that outlives the service's process", async () => {
    const data = test.stack.dataDir;
    const path = join(data, "receipt-key.pem");
    expect((await stat(path)).mode & 0o777).toBe(0o600);
    const { x } = createPublicKey(await readFile(path, "utf8")).export({ format: "jwk" });
    const { keys } = JSON.parse(await readFile(at("keys.json"), "utf8")) as { keys: { x: string }[] };
    expect(keys.map((key) => key.x)).toEqual([x]);
    await test.stack.edge.kill("SIGKILL");
    await test.stack.waitReady();
    const again = await fetch(`${test.url}/.well-known/vqd-receipts.json`);
    expect(await again.text()).toBe(await readFile(at("keys.json"), "utf8"));
  });
});
