// What has happened to a job since its last message, in one message, with the state that it is in then: readers' events, and what
// another worker continues from.

import { z } from "zod";
import { decodeFrame, decodeEvent, encodeFrame, type Framed } from "../codec.ts";
import { VqdError } from "../errors.ts";
import {
  type JobState,
  jobStateSchema,
  type PredictionEvent,
  predictionEventSchema,
  type StepEvent,
} from "../events.ts";
import { MAX_IMAGES, MAX_LATENT_PIXELS, MAX_TIMESTEPS } from "../limits.ts";
import { packStates, unpackStates } from "./packed.ts";

const TOKEN_BYTES = 2;
/** Events of a message: all steps of the longest job, its images and previews. */
const MAX_ITEMS = 2_000;

/** Bytes of the states of a message when they are unpacked: a few bytes can stand for many. */
export const MAX_UNPACKED_BYTES = 8 * 1024 * 1024;

const natural = z.int().min(0);
/** Successive steps. Each has its number, the timestep just left, pixels still masked, and ms after `at`. */
const stepsSchema = z.strictObject({
  type: z.literal("steps"),
  at: z.int(),
  total: natural.max(MAX_TIMESTEPS),
  images: z.int().min(1).max(MAX_IMAGES),
  steps: z
    .array(z.tuple([natural.max(MAX_TIMESTEPS), natural.max(MAX_TIMESTEPS), natural, natural]))
    .min(1)
    .max(MAX_TIMESTEPS),
});
/** Any other event, as events.ts describes it, without what is common to all; `bytes` are attached. */
const otherSchema = z.looseObject({
  type: z.enum(["started", "beginning", "preview", "output", "succeeded", "failed", "canceled", "yielded"]),
  at: z.int(),
  bytes: natural.optional(),
});

export const batchSchema = z.strictObject({
  v: z.literal(2),
  /** Counts an attempt's messages from 0. */
  n: natural,
  state: jobStateSchema,
  /**
   * The first `bytes` attached: the packed states (packed.ts) after the steps below, of `size` bytes each, or if there are none, the
   * job's state alone. The last one is the job's state.
   */
  packed: z
    .strictObject({
      count: natural.max(MAX_ITEMS),
      size: natural.max(MAX_IMAGES * MAX_LATENT_PIXELS * TOKEN_BYTES),
      bytes: natural,
    })
    .refine((packed) => packed.count * packed.size <= MAX_UNPACKED_BYTES, { message: "has too many states" }),
  /** What has happened, in order. */
  events: z.array(z.discriminatedUnion("type", [stepsSchema, otherSchema])).max(MAX_ITEMS),
});

export type Batch = z.infer<typeof batchSchema>;
type Item = Batch["events"][number];

export interface NewBatch {
  readonly n: number;
  readonly state: JobState;
  /** The job's state as class ids (uint16 LE): after the last of the steps below, if there are any. Empty before the first. */
  readonly tokens: Uint8Array;
  readonly events: readonly Framed<PredictionEvent>[];
}

export function encodeBatch({ n, state, tokens, events }: NewBatch): Uint8Array<ArrayBuffer> {
  const states: Uint8Array[] = [];
  const attached: Uint8Array[] = [];
  const items: Item[] = [];
  for (const { value, attachment } of events) {
    if (value.type === "step") {
      states.push(attachment);
      addStep(items, value);
      continue;
    }
    const { v: _v, attempt: _attempt, ...body } = value;
    items.push({ ...body, ...(attachment.length === 0 ? {} : { bytes: attachment.length }) });
    attached.push(attachment);
  }
  if (states.length === 0 && tokens.length > 0) states.push(tokens);
  const packed = states.length === 0 ? new Uint8Array() : packStates(states);
  const size = states[0]?.length ?? 0;
  const head: Batch = {
    v: 2,
    n,
    state,
    packed: { count: states.length, size, bytes: packed.length },
    events: items,
  };
  return encodeFrame(head, packed, ...attached);
}

function addStep(items: Item[], { step, total, timestep, masked, images, at }: StepEvent): void {
  const last = items.at(-1);
  const isSame = last?.type === "steps" && last.total === total && last.images === images && at >= last.at;
  if (isSame) last.steps.push([step, timestep, masked, at - last.at]);
  else items.push({ type: "steps", at, total, images, steps: [[step, timestep, masked, 0]] });
}

/** The events of a message, which is a batch or, from workers or for hubs that know none, a single event. Throws a VqdError (internal). */
export function decodeEvents(frame: Uint8Array): Framed<PredictionEvent>[] {
  return isBatch(frame) ? eventsOf(decodeFrame(batchSchema, "batch", frame)) : [decodeEvent(frame)];
}

/** Whether a message is a batch, by its beginning. */
export const isBatch = (frame: Uint8Array): boolean =>
  new TextDecoder().decode(frame.subarray(0, BATCH_START.length)) === BATCH_START;
const BATCH_START = '{"v":2,';

function eventsOf({ value: batch, attachment }: Framed<Batch>): Framed<PredictionEvent>[] {
  const { state, packed, events } = batch;
  const { attempt } = state;
  const states =
    packed.count === 0 ? [] : unpackStates(take(attachment, 0, packed.bytes), packed.count, packed.size);
  const found: Framed<PredictionEvent>[] = [];
  let at = packed.bytes;
  let place = 0;
  for (const item of events) {
    if (isSteps(item)) {
      const { total, images } = item;
      for (const [step, timestep, masked, after] of item.steps) {
        const tokens = states[place++];
        if (tokens === undefined) throw new VqdError("internal", "batch: a step without a state");
        const value = {
          v: 1,
          attempt,
          at: item.at + after,
          type: "step",
          step,
          total,
          timestep,
          masked,
          images,
        } as const;
        found.push({ value, attachment: tokens });
      }
      continue;
    }
    const { bytes = 0, ...body } = item;
    const parsed = predictionEventSchema.safeParse({ v: 1, attempt, ...body });
    if (!parsed.success)
      throw new VqdError("internal", `batch: ${z.prettifyError(parsed.error).slice(0, 500)}`);
    found.push({ value: parsed.data, attachment: take(attachment, at, bytes).slice() });
    at += bytes;
  }
  if (at !== attachment.length) throw new VqdError("internal", "batch: more is attached than it says");
  return found;
}

const isSteps = (item: Item): item is z.infer<typeof stepsSchema> => item.type === "steps";

function take(bytes: Uint8Array<ArrayBuffer>, from: number, count: number): Uint8Array<ArrayBuffer> {
  if (from + count > bytes.length) throw new VqdError("internal", "batch: less is attached than it says");
  return bytes.subarray(from, from + count);
}

/** The state in a batch, with its class ids (uint16 LE). Throws a VqdError (internal). */
export function decodeBatchState(frame: Uint8Array): Framed<JobState> & { readonly n: number } {
  const { value, attachment } = decodeFrame(batchSchema, "batch", frame);
  const { state, packed, n } = value;
  // The last state is the first of what is packed.
  return { n, value: state, attachment: take(attachment, 0, packed.count === 0 ? 0 : packed.size).slice() };
}
