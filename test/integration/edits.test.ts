// Jobs that start from an image or from tokens, on a real nats-server with a real model: as the pipeline makes them, and across
// workers that are replaced in the middle.

import sharp from "sharp";
import { encodeState, encodeTokens, decodeTokens } from "@vqd/shared/codec.ts";
import { decodeTokensFile } from "@vqd/shared/editing/tokens-file.ts";
import type { Job } from "@vqd/shared/job.ts";
import { MAX_SOURCE_BYTES } from "@vqd/shared/limits.ts";
import { stateSubject } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { CallOptions } from "../../gpu-worker/pipeline/call.ts";
import { encodeImageFile } from "../../gpu-worker/pipeline/image.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import type { JobConsumer } from "../../gpu-worker/jobs/consumer.ts";
import type { Broker } from "../../gpu-worker/nats/broker.ts";
import type { HostedModel, ModelHost } from "../../gpu-worker/serving/model-host.ts";
import { temporaryFolder } from "../support/tiny.ts";
import { jobOf, makeConsumer, startJobs, type TestEdge } from "./support/jobs.ts";
import { TINY_MODEL } from "./support/stack.ts";

const STEPS = 8;
const SAMPLER = { scheduler: "strided", order: "confidence", remasking: 0.2 } as const;

let edge: TestEdge;
let broker: Broker;
let models: ModelHost;
let model: HostedModel;
let close: () => Promise<void>;
let pipeline: VQDiffusionPipeline;
let consumer: JobConsumer;
let running: Promise<void>;

beforeAll(async () => {
  ({ edge, broker, models, model, close } = await startJobs());
  pipeline = await VQDiffusionPipeline.fromPretrained(TINY_MODEL, { cacheDir: await temporaryFolder() });
  consumer = makeConsumer(broker, models);
  running = consumer.run();
});
afterAll(async () => {
  consumer.drain();
  await running;
  await pipeline.release();
  await close();
});

const job = (changes: Partial<Job>): Job =>
  jobOf(model, { numInferenceSteps: STEPS, seed: 3, ...SAMPLER, ...changes });

interface Made {
  /** Tokens after each step that was reported. */
  readonly states: Map<number, Uint16Array>;
  readonly outputs: Uint8Array[];
}

async function make(changes: Partial<Job>, source?: Uint8Array): Promise<Made> {
  const asked = job(changes);
  await edge.send(asked, model.key, source);
  expect(await edge.endOf(asked.id)).toBe("succeeded");
  return resultOf(asked.id);
}

function resultOf(id: string): Made {
  const framed = edge.framedOf(id);
  return {
    states: new Map(
      framed.flatMap(({ value, attachment }) =>
        value.type === "step" ? [[value.step, decodeTokens(attachment)] as const] : [],
      ),
    ),
    outputs: edge.filesOf(id),
  };
}

async function failureOf(changes: Partial<Job>, source?: Uint8Array): Promise<string> {
  const asked = job(changes);
  await edge.send(asked, model.key, source);
  expect(await edge.endOf(asked.id)).toBe("failed: invalid_input");
  const failed = edge.eventsOf(asked.id).find(({ type }) => type === "failed");
  return failed?.type === "failed" ? failed.error.message : "";
}

/** Twice the model's size, with colours from corner to corner. */
function photo(): Promise<Buffer> {
  const side = 2 * model.info.imageWidth;
  const data = Uint8Array.from({ length: 3 * side * side }, (_, i) => {
    const [x, y] = [Math.floor(i / 3) % side, Math.floor(i / 3 / side)];
    return [x * 7, y * 7, 255 - x * 3 - y * 3][i % 3] ?? 0;
  });
  return sharp(data, { raw: { width: side, height: side, channels: 3 } })
    .png()
    .toBuffer();
}

/** Its left half is transparent, and its right half opaque. */
function mask(): Promise<Buffer> {
  const side = 2 * model.info.imageWidth;
  const data = Uint8Array.from({ length: 4 * side * side }, (_, i) =>
    i % 4 === 3 && Math.floor(i / 4) % side >= side / 2 ? 255 : 0,
  );
  return sharp(data, { raw: { width: side, height: side, channels: 4 } })
    .png()
    .toBuffer();
}

/** An edit of the photo's left half, as a job and as the pipeline is called. */
async function edit() {
  const [image, painted] = [await photo(), await mask()];
  return {
    source: {
      type: "image",
      bytes: image.length,
      mask: { type: "file", channel: "alpha", bytes: painted.length },
      strength: 0.8,
      blend: { feather: 2 },
    } satisfies Job["source"],
    attached: Buffer.concat([image, painted]),
    called: { image, mask: painted, maskChannel: "alpha", strength: 0.8, feather: 2 } as const,
  };
}

/** What the pipeline makes of a job: the tokens of prompt 0 are no text, so slots are made as a worker makes them. */
async function expected(called: Omit<CallOptions<"image">, "prompt">): Promise<Uint8Array[]> {
  const encode = pipeline.encodePrompt.bind(pipeline);
  const [prompt = []] = jobOf(model).prompts;
  pipeline.encodePrompt = () => encode([prompt]);
  const options = { ...SAMPLER, prompt: "", numInferenceSteps: STEPS, seed: 3, guidanceScale: 2, ...called };
  const { images } = await pipeline.call(options).finally(() => (pipeline.encodePrompt = encode));
  return Promise.all(images.map(async (image) => new Uint8Array(await encodeImageFile(image, "png"))));
}

describe("a job", () => {
  it("that edits an image makes what the pipeline makes, and holds the rest", async () => {
    const { source, attached, called } = await edit();
    const made = await make({ source, previews: 2, numImagesPerPrompt: 2 }, attached);
    expect(made.outputs).toEqual(await expected({ ...called, numImagesPerPrompt: 2 }));
    // From the first step that is made: with 8 of 100 timesteps, a strength of 0.8 leaves out the first two.
    expect([...made.states.keys()]).toEqual([2, 3, 4, 5, 6, 7, 8]);
    const { width, height } = { width: model.info.imageWidth, height: model.info.imageHeight };
    const scaled = await sharp(await photo())
      .resize(width, height)
      .removeAlpha()
      .raw()
      .toBuffer();
    const pixels = await sharp(made.outputs[0]).raw().toBuffer();
    const isRight = (i: number): boolean => Math.floor(i / 3) % width > width / 2;
    expect(pixels.every((value, i) => !isRight(i) || value === scaled[i])).toBe(true);
    expect(pixels.some((value, i) => value !== scaled[i])).toBe(true);
  });

  it("at another size blends into the image at that size: at its own, its pixels are those of the file", async () => {
    const { source, attached } = await edit();
    const side = 2 * model.info.imageWidth;
    const { outputs } = await make({ source, outputSize: { width: side, height: side } }, attached);
    const pixels = await sharp(outputs[0]).raw().toBuffer();
    const original = await sharp(await photo())
      .removeAlpha()
      .raw()
      .toBuffer();
    const kept = pixels.filter((_value, i) => Math.floor(i / 3) % side >= side / 2);
    expect(kept).toEqual(original.filter((_value, i) => Math.floor(i / 3) % side >= side / 2));
  });

  it("for tokens gives a file from which another makes the picture that the first would have made", async () => {
    const picture = await make({});
    const { outputs } = await make({ outputFormat: "tokens" });
    const file = decodeTokensFile(outputs[0] ?? new Uint8Array());
    expect(file).toEqual({
      version: model.info.version,
      height: model.info.latentHeight,
      width: model.info.latentWidth,
      tokens: picture.states.get(STEPS),
    });
    const bytes = encodeTokens(file.tokens);
    const source = { type: "tokens", images: 1, bytes: bytes.length, step: STEPS } as const;
    const again = await make({ source, prompts: [[0]] }, bytes);
    expect(again.outputs).toEqual(picture.outputs);
    expect(again.states).toEqual(new Map([[STEPS, file.tokens]]));
  });

  it("that encodes an image reports its tokens", async () => {
    const image = await photo();
    const source = { type: "image", bytes: image.length, strength: 0 } as const;
    const { outputs, states } = await make({ source, outputFormat: "tokens" }, image);
    const { imageWidth: width, imageHeight: height } = model.info;
    const data = await sharp(image).resize(width, height).removeAlpha().raw().toBuffer();
    const tokens = await pipeline.encodeImage({ width, height, data });
    expect(decodeTokensFile(outputs[0] ?? new Uint8Array()).tokens).toEqual(tokens);
    expect(states).toEqual(new Map([[STEPS, tokens]]));
  });

  it.each([0, 1, STEPS / 2, STEPS])("that forks another after step %d ends in its picture", async (step) => {
    const settings = { numImagesPerPrompt: 2, seeds: [5, 9] };
    const whole = await make(settings);
    const masked = new Uint16Array(2 * model.info.latentHeight * model.info.latentWidth).fill(
      model.info.numEmbeddings,
    );
    const bytes = encodeTokens(whole.states.get(step) ?? masked);
    const source = { type: "tokens", images: 2, bytes: bytes.length, step } as const;
    const fork = await make({ ...settings, source }, bytes);
    expect(fork.outputs).toEqual(whole.outputs);
    expect(fork.states).toEqual(new Map([...whole.states].filter(([at]) => at >= Math.max(1, step))));
    // With another scheduler it is another picture, from the same state.
    if (step === 0 || step === STEPS) return;
    const run = { numInferenceSteps: STEPS, scheduler: SAMPLER.scheduler, order: SAMPLER.order };
    const other = await make(
      {
        ...settings,
        source: { ...source, run },
        scheduler: "reference",
        numInferenceSteps: 100,
        order: "posterior",
        remasking: 0,
      },
      bytes,
    );
    const [first = 0] = other.states.keys();
    expect(other.states.get(first)).toEqual(whole.states.get(step));
  });

  /** Sends the job as if a worker had died after step `step`, leaving the state that `whole` has there. */
  async function sendLeft(asked: Job, attached: Uint8Array, whole: Made, step: number): Promise<Made> {
    const left = {
      v: 1,
      attempt: 1,
      numericsId: model.info.numericsId,
      step,
      images: 1,
      starts: 0,
      claims: 1,
      owner: "other",
    } as const;
    const tokens = whole.states.get(step) ?? new Uint16Array();
    await broker.js.publish(stateSubject(model.key, asked.id), encodeState(left, tokens));
    await edge.send(asked, model.key, attached);
    expect(await edge.endOf(asked.id)).toBe("succeeded");
    expect(edge.eventsOf(asked.id)[0]).toMatchObject({ type: "started", resumedFrom: step });
    return resultOf(asked.id);
  }

  it.each([2, 3, STEPS - 1, STEPS])(
    "that edits goes on after step %d of a worker that died",
    async (step) => {
      const { source, attached } = await edit();
      const whole = await make({ source }, attached);
      const rest = await sendLeft(job({ source }), attached, whole, step);
      expect(rest.outputs).toEqual(whole.outputs);
      expect([...rest.states.keys()]).toEqual([...whole.states.keys()].filter((at) => at > step));
    },
  );

  it("that forks goes on after a step of a worker that died", async () => {
    const whole = await make({});
    const bytes = encodeTokens(whole.states.get(2) ?? new Uint16Array());
    const source = { type: "tokens", images: 1, bytes: bytes.length, step: 2 } as const;
    const rest = await sendLeft(job({ source }), bytes, whole, 5);
    expect(rest.outputs).toEqual(whole.outputs);
    expect([...rest.states.keys()]).toEqual([6, 7, 8]);
  });

  it("holds tokens by their bits", async () => {
    const { latentHeight, latentWidth, numEmbeddings } = model.info;
    const tokens = Uint16Array.from(
      { length: latentHeight * latentWidth },
      (_, i) => (i * 37) % numEmbeddings,
    );
    const free = Uint8Array.from({ length: tokens.length / 8 }, (_, i) => (i % 2 === 0 ? 0b0000_1111 : 0));
    const attached = Buffer.concat([encodeTokens(tokens), free]);
    const source = {
      type: "tokens",
      images: 1,
      bytes: 2 * tokens.length,
      mask: { type: "tokens", bytes: free.length },
      strength: 1,
    } as const;
    const { states } = await make({ source }, attached);
    const end = states.get(STEPS) ?? new Uint16Array();
    const isFree = (i: number): boolean => i % 16 < 4;
    expect(end.every((token, i) => isFree(i) || token === tokens[i])).toBe(true);
    expect(end.some((token, i) => token !== tokens[i])).toBe(true);
  });

  it("with the image's own transparency as its mask is made anew there, and as a whole if it has none", async () => {
    const side = 2 * model.info.imageWidth;
    const clear = await sharp(await photo())
      .composite([{ input: await mask(), blend: "dest-in" }])
      .png()
      .toBuffer();
    const sourceOf = (bytes: number) =>
      ({
        type: "image",
        bytes,
        mask: { type: "image_alpha" },
        strength: 0.5,
        blend: { feather: 0 },
      }) as const;
    const own = await make(
      { source: sourceOf(clear.length), outputSize: { width: side, height: side } },
      clear,
    );
    const pixels = await sharp(own.outputs[0]).raw().toBuffer();
    const flat = await sharp(clear).flatten({ background: "white" }).raw().toBuffer();
    const isRight = (i: number): boolean => Math.floor(i / 3) % side >= side / 2;
    expect(pixels.every((value, i) => !isRight(i) || value === flat[i])).toBe(true);
    // Where it is transparent there is nothing to begin with, so all steps are made.
    expect([...own.states.keys()][0]).toBe(1);
    const opaque = await photo();
    const whole = await make({ source: sourceOf(opaque.length) }, opaque);
    expect([...whole.states.keys()][0]).toBe(5);
  });

  it("carries a source of the largest size", async () => {
    const image = await photo();
    // A PNG chunk that readers skip.
    const rest = MAX_SOURCE_BYTES - image.length;
    const padded = Buffer.concat([image, Buffer.alloc(rest)]);
    const source = { type: "image", bytes: padded.length, strength: 0.5 } as const;
    const { outputs } = await make({ source }, padded);
    const plain = await make({ source: { ...source, bytes: image.length } }, image);
    expect(outputs).toEqual(plain.outputs);
  });

  it("that cannot be run fails with a reason that names what is wrong, and the worker goes on", async () => {
    const image = await photo();
    const small = await sharp(await mask())
      .resize(8, 8)
      .png()
      .toBuffer();
    const tokens = new Uint8Array(2 * model.info.latentHeight * model.info.latentWidth);
    const imageSource = { type: "image", bytes: image.length, strength: 0.5 } as const;
    const tokensSource = { type: "tokens", images: 1, bytes: tokens.length, step: STEPS } as const;
    const bad = Buffer.from("no image");
    expect(await failureOf({ source: { ...imageSource, bytes: bad.length } }, bad)).toMatch(
      /^image must be a PNG/,
    );
    const withMask = {
      ...imageSource,
      mask: { type: "file", channel: "luminance", bytes: small.length },
    } as const;
    expect(await failureOf({ source: withMask }, Buffer.concat([image, small]))).toMatch(
      /^mask must have the size/,
    );
    const cut = image.subarray(0, image.length / 2);
    expect(await failureOf({ source: { ...imageSource, bytes: cut.length } }, cut)).toMatch(
      /^image cannot be decoded/,
    );
    expect(
      await failureOf(
        { source: tokensSource },
        tokens.map(() => 255),
      ),
    ).toMatch(/^tokens must be class ids/);
    const masked = encodeTokens(new Uint16Array(tokens.length / 2).fill(model.info.numEmbeddings));
    expect(await failureOf({ source: tokensSource }, masked)).toMatch(/^tokens must be .* no masked ones$/);
    expect(await failureOf({ source: { ...tokensSource, bytes: 2 } }, tokens.subarray(0, 2))).toMatch(
      /^tokens must be 64 per image/,
    );
    const bits = { ...tokensSource, step: 0, mask: { type: "tokens", bytes: 3 } } as const;
    expect(await failureOf({ source: bits }, new Uint8Array(tokens.length + 3))).toMatch(
      /^mask must have 8 bytes/,
    );
    await make({});
  });
});
