// The frames that cross NATS: what is written is read back, and what is not a frame is refused.

import * as fc from "fast-check";
import { describe, expect, it } from "vitest";
import {
  decodeEvent,
  decodeJob,
  decodeManifest,
  decodeState,
  decodeTokens,
  encodeEvent,
  encodeJob,
  encodeManifest,
  encodeState,
  encodeTokens,
  isForeignJob,
} from "../../shared/codec.ts";
import { VqdError } from "../../shared/errors.ts";
import { isTerminalEvent, type PredictionEvent } from "../../shared/events.ts";
import { imageCount, type Job } from "../../shared/job.ts";
import type { ModelManifest } from "../../shared/model.ts";
import { isPredictionId, newPredictionId } from "../../shared/ids.ts";
import { eventSubject, parseEventSubject, UNSCOPED } from "../../shared/subjects.ts";
import { decodeTokensFile, encodeTokensFile } from "../../shared/editing/tokens-file.ts";
import { damaged } from "../support/frames.ts";
import { makeJob } from "../support/job.ts";

const text = (bytes: Uint8Array): string => new TextDecoder().decode(bytes);
const bytes = (value: string): Uint8Array => new TextEncoder().encode(value);

const job = makeJob({
  id: "00".padEnd(26, "a"),
  model: "vqd/tiny",
  version: "ab".repeat(32),
  createdAt: 1_700_000_000_000,
  deadlineAt: 1_700_000_720_000,
  prompts: [
    [49_406, 320, 49_407],
    [49_406, 49_407, 0],
  ],
  truncationRate: 0.86,
  numImagesPerPrompt: 2,
  seed: 7,
});

const imageSource: Job["source"] = {
  type: "image",
  bytes: 5,
  mask: { type: "file", channel: "alpha", bytes: 2 },
  strength: 1,
  blend: { feather: 4 },
};
/** Of four images, with the state of another run. */
const tokensSource: Job["source"] = {
  type: "tokens",
  images: 4,
  bytes: 512,
  mask: { type: "tokens", bytes: 8 },
  step: 3,
  run: { numInferenceSteps: 5, scheduler: "strided", order: "halton" },
};

const manifest: ModelManifest = {
  v: 1,
  name: "vqd/tiny",
  version: "ab".repeat(32),
  numTrainTimesteps: 100,
  numVectorEmbeds: 129,
  latentHeight: 8,
  latentWidth: 8,
  imageHeight: 32,
  imageWidth: 32,
  tokenizer: { mergesSha256: "cd".repeat(32), maxLength: 77, padTokenId: 0 },
  parameters: 1_234,
  announcedAt: 1_700_000_000_000,
};

const base = { v: 1, attempt: 1, at: 1_700_000_000_000 } as const;
const events: PredictionEvent[] = [
  { ...base, type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: 10 },
  { ...base, type: "step", step: 1, total: 10, timestep: 9, masked: 60, images: 1 },
  { ...base, type: "output", index: 0, format: "png", width: 32, height: 32, seed: 7 },
  { ...base, type: "preview", index: 0, preview: 1, step: 5, format: "webp", width: 32, height: 32 },
  { ...base, type: "started", worker: "w", numericsId: "n", resumedFrom: 3, total: 10, yields: true },
  { ...base, type: "yielded", step: 4, predictSeconds: 0.5 },
  { ...base, type: "succeeded", predictSeconds: 1.5 },
  { ...base, type: "failed", error: { code: "model_error", message: "no memory" } },
  { ...base, type: "canceled" },
];

describe("frames", () => {
  it("are a line of JSON, then the attachment", () => {
    const frame = encodeEvent(events[1] as PredictionEvent, encodeTokens(Uint16Array.of(1, 258)));
    expect(text(frame.subarray(0, -4))).toBe(
      '{"v":1,"attempt":1,"at":1700000000000,"type":"step","step":1,"total":10,"timestep":9,"masked":60,"images":1}\n',
    );
    expect([...frame.subarray(-4)]).toEqual([1, 0, 2, 1]);
  });

  it("bring back jobs, manifests, states and events", () => {
    expect(decodeJob(encodeJob(job)).value).toEqual(job);
    // Of a release without orders, remasking and temperatures; and of one with them.
    expect(job).not.toHaveProperty("order");
    const newer: Job = { ...job, order: "confidence", remasking: 0.1, temperature: 0.5 };
    expect(decodeJob(encodeJob(newer)).value).toEqual(newer);
    expect(imageCount(job)).toBe(4);
    expect(decodeManifest(encodeManifest(manifest))).toEqual({
      value: manifest,
      attachment: new Uint8Array(),
    });
    const place = { v: 1, attempt: 2, numericsId: "n", step: 3, images: 1 } as const;
    const state = { ...place, starts: 1, claims: 4, owner: "me" };
    const { value, attachment } = decodeState(encodeState(state, Uint16Array.of(5, 6)));
    expect(value).toEqual(state);
    expect(decodeTokens(attachment)).toEqual(Uint16Array.of(5, 6));
    // From a worker of another version: without what it does not know, with what we do not.
    const foreign = new TextEncoder().encode(
      '{"v":1,"attempt":2,"numericsId":"n","step":0,"images":1,"more":true}\n',
    );
    expect(decodeState(foreign).value).toEqual({ ...place, step: 0, starts: 0, claims: 0, owner: "" });
    for (const event of events) expect(decodeEvent(encodeEvent(event)).value).toEqual(event);
    expect(events.map(isTerminalEvent)).toEqual([false, false, false, false, false, false, true, true, true]);
  });

  it("keep any attachment, line ends included", () => {
    fc.assert(
      fc.property(fc.uint8Array({ maxLength: 200 }), (attachment) => {
        const decoded = decodeEvent(encodeEvent(events[2] as PredictionEvent, attachment));
        expect([...decoded.attachment]).toEqual([...attachment]);
      }),
    );
    fc.assert(
      fc.property(fc.uint16Array({ maxLength: 200 }), (tokens) => {
        expect(decodeTokens(encodeTokens(tokens))).toEqual(tokens);
      }),
    );
  });

  it("share no memory with the message they came in", () => {
    const frame = encodeEvent(events[2] as PredictionEvent, Uint8Array.of(1, 2, 3));
    const { attachment } = decodeEvent(frame);
    frame.fill(0);
    expect([...attachment]).toEqual([1, 2, 3]);
  });

  it.each([
    ["no JSON", bytes("hello\n")],
    ["broken UTF-8", Uint8Array.of(0x22, 0xff, 0x22, 0x0a)],
    ["nothing", new Uint8Array(0)],
    ["another version", bytes(JSON.stringify({ ...events[4], v: 2 }))],
    ["an unknown field", bytes(JSON.stringify({ ...events[4], extra: 1 }))],
    ["an unknown type", bytes(JSON.stringify({ ...base, type: "exploded" }))],
    ["a missing field", bytes(JSON.stringify({ ...base, type: "step" }))],
  ])("are refused if they hold %s", (_, frame) => {
    expect(() => decodeEvent(frame)).toThrow(/^event: /);
  });

  it("bring back what a job starts from, and refuse any other number of bytes", () => {
    for (const [source, length] of [
      [imageSource, 7],
      [tokensSource, 520],
      [{ ...imageSource, mask: { type: "image_alpha" } }, 5],
    ] as const) {
      const attached = Uint8Array.from({ length }, (_, i) => i % 11);
      const framed = decodeJob(encodeJob({ ...job, source }, attached));
      expect(framed).toEqual({ value: { ...job, source }, attachment: attached });
      for (const wrong of [new Uint8Array(), new Uint8Array(length + 1)]) {
        expect(() => decodeJob(encodeJob({ ...job, source }, wrong))).toThrow(
          `job: ${wrong.length} bytes attached instead of ${length}`,
        );
      }
    }
    expect(() => decodeJob(encodeJob(job, Uint8Array.of(1)))).toThrow("1 bytes attached instead of 0");
  });

  it.each<[string, object, RegExp]>([
    ["a strength above 1", { source: { ...imageSource, strength: 1.1 } }, /strength/],
    ["no strength", { source: { ...imageSource, strength: undefined } }, /strength/],
    ["too many bytes", { source: { ...imageSource, bytes: 4 * 1024 * 1024 } }, /source\.bytes/],
    ["a blend without a mask", { source: { ...imageSource, mask: undefined } }, /source\.blend/],
    ["an unknown kind of source", { source: { ...imageSource, type: "video" } }, /source\.type/],
    ["as many images as prompts", { source: { ...tokensSource, images: 2 } }, /source\.images/],
    ["half tokens", { source: { ...tokensSource, bytes: 509 } }, /source\.bytes/],
    ["both a step and a strength", { source: { ...tokensSource, strength: 0.5 } }, /source\.step/],
    ["neither", { source: { ...tokensSource, step: undefined } }, /source\.step/],
    ["a step after the last", { source: { ...tokensSource, step: 6 } }, /source\.step/],
    ["the alpha of tokens", { source: { ...tokensSource, mask: { type: "image_alpha" } } }, /source\.mask/],
    ["previews of tokens", { outputFormat: "tokens", previews: 1 }, /previews/],
    ["a size of tokens", { outputFormat: "tokens", outputSize: { width: 8, height: 8 } }, /outputSize/],
    ["a blend of tokens", { outputFormat: "tokens", source: imageSource }, /source\.blend/],
  ])("are refused for a job with %s", (_, changes, message) => {
    expect(() => decodeJob(bytes(JSON.stringify({ ...job, ...changes })))).toThrow(message);
  });

  it("are refused beyond the limits", () => {
    expect(() => decodeJob(bytes(JSON.stringify({ ...job, numInferenceSteps: 1_001 })))).toThrow(/^job: /);
    expect(() => decodeJob(bytes(JSON.stringify({ ...job, prompts: [] })))).toThrow(/^job: /);
    expect(() => decodeJob(bytes(JSON.stringify({ ...job, id: "x" })))).toThrow(/^job: /);
    const huge = { ...manifest, latentHeight: 65, latentWidth: 64 };
    expect(() => decodeManifest(bytes(JSON.stringify(huge)))).toThrow(/latent pixels/);
    expect(() => decodeTokens(new Uint8Array(3))).toThrow(/odd/);
  });
});

describe("damaged frames", () => {
  const states = {
    v: 1,
    attempt: 2,
    numericsId: "n",
    step: 3,
    images: 1,
    starts: 1,
    claims: 4,
    owner: "me",
  } as const;
  const tokens = Uint16Array.of(1, 2, 3);
  it.each<[string, (frame: Uint8Array) => unknown, Uint8Array[]]>([
    ["events", decodeEvent, events.map((event) => encodeEvent(event, encodeTokens(tokens)))],
    ["jobs", decodeJob, [encodeJob(job), encodeJob({ ...job, source: imageSource }, new Uint8Array(7))]],
    ["manifests", decodeManifest, [encodeManifest({ ...manifest, palette: btoa("rgb".repeat(128)) })]],
    ["states", decodeState, [encodeState(states, tokens)]],
  ])("of %s are read or refused in a few words, and nothing else", (_, decode, frames) => {
    for (const frame of frames) {
      fc.assert(
        fc.property(damaged(frame), (data) => {
          const before = data.slice();
          try {
            decode(data);
          } catch (error) {
            expect(error).toBeInstanceOf(VqdError);
            expect((error as VqdError).message.length).toBeLessThan(600);
          }
          expect(data).toEqual(before);
        }),
        { numRuns: 300 },
      );
    }
    expect(Reflect.has({}, "v")).toBe(false);
  });

  it("of jobs are none of another release, unless they say so", () => {
    fc.assert(
      fc.property(damaged(encodeJob(job)), (data) => {
        expect(typeof isForeignJob(data)).toBe("boolean");
      }),
    );
    expect(isForeignJob(bytes('{"v":2}\n'))).toBe(false);
    expect(isForeignJob(bytes(`{"v":2,"id":"${job.id}","more":1}\n`))).toBe(true);
  });
});

describe("files of tokens", () => {
  const file = (tokens: number[], width = tokens.length) => ({
    version: "0123456789abcdef".repeat(4),
    height: tokens.length / width,
    width,
    tokens: Uint16Array.from(tokens),
  });

  it("are a header, then the bits of each token, the lowest first", () => {
    const encoded = encodeTokensFile(file([1, 2, 1_024, 3], 2), 1_025);
    expect(text(encoded.subarray(0, 4))).toBe("VQDT");
    expect([...encoded.subarray(4, 10)]).toEqual([1, 11, 2, 0, 2, 0]);
    expect([...encoded.subarray(10, 14)]).toEqual([0x01, 0x23, 0x45, 0x67]);
    // 1 + (2 << 11) + (1_024 << 22) + (3 << 33)
    expect([...encoded.subarray(42)]).toEqual([0x01, 0x10, 0x00, 0x00, 0x07, 0x00]);
  });

  it("bring back any tokens of any model, in as few bits as its classes have", () => {
    const grids = fc
      .tuple(
        fc.integer({ min: 2, max: 65_536 }),
        fc.integer({ min: 1, max: 12 }),
        fc.integer({ min: 1, max: 12 }),
      )
      .chain(([classes, height, width]) =>
        fc.record({
          classes: fc.constant(classes),
          width: fc.constant(width),
          tokens: fc.array(fc.nat({ max: classes - 1 }), {
            minLength: height * width,
            maxLength: height * width,
          }),
        }),
      );
    fc.assert(
      fc.property(grids, ({ classes, width, tokens }) => {
        const encoded = encodeTokensFile(file(tokens, width), classes);
        expect(decodeTokensFile(encoded)).toEqual(file(tokens, width));
        const bits = (classes - 1).toString(2).length;
        expect(encoded.length).toBe(42 + Math.ceil((tokens.length * bits) / 8));
      }),
    );
  });

  it("are read or refused in a few words when damaged", () => {
    const whole = encodeTokensFile(file([5, 6, 7, 0, 1], 1), 9);
    const place = fc.nat({ max: whole.length - 1 });
    fc.assert(
      fc.property(place, fc.nat({ max: 255 }), fc.nat({ max: 60 }), (at, value, length) => {
        const data = new Uint8Array(length);
        data.set(whole.subarray(0, length));
        if (at < length) data[at] = value;
        try {
          expect(decodeTokensFile(data).tokens.length).toBeGreaterThan(0);
        } catch (error) {
          expect(error).toBeInstanceOf(VqdError);
          expect((error as VqdError).message).toMatch(/^not a file of tokens: .{5,80}$/);
        }
      }),
      { numRuns: 500 },
    );
  });
});

describe("subjects of events", () => {
  const key = "vqd--tiny--0123456789ab";

  it("say where an event belongs", () => {
    for (const shard of [0, 5, 1_023]) {
      const predictionId = newPredictionId(shard);
      const at = { shard, predictionId };
      expect(parseEventSubject(eventSubject(shard, key, predictionId))).toEqual({ ...at, modelKey: key });
      expect(parseEventSubject(UNSCOPED.eventSubject(shard, predictionId))).toEqual({
        ...at,
        modelKey: undefined,
      });
      expect(parseEventSubject(eventSubject((shard + 1) % 1_024, key, predictionId))).toBeUndefined();
    }
  });

  it("say nothing if they are made up", () => {
    const token = fc.oneof(
      fc.string({ maxLength: 30 }),
      fc.constantFrom("vqd", "events", "0", "00", key, job.id),
    );
    fc.assert(
      fc.property(fc.array(token, { maxLength: 7 }), (tokens) => {
        const place = parseEventSubject(tokens.join("."));
        if (place !== undefined) expect(isPredictionId(place.predictionId)).toBe(true);
      }),
    );
  });
});
