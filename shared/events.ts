// What a worker reports about a job: one discriminated union, published in order on the prediction's subject.

import { z } from "zod";
import { ERROR_CODES } from "./errors.ts";
import { heldSchema } from "./receipts/held.ts";
import { IMAGE_FORMATS, OUTPUT_FORMATS } from "./job.ts";
import { MAX_ATTEMPT, MAX_IMAGES, MAX_PREVIEWS, MAX_TIMESTEPS, MAX_WORKER_NAME } from "./limits.ts";
import { seedSchema } from "./sampling/seed.ts";

const base = {
  v: z.literal(1),
  /** Counts attempts at the job from 1; events of an attempt lower than the latest seen are void. */
  attempt: z.int().min(1).max(MAX_ATTEMPT),
  /** Unix time in ms at the worker. */
  at: z.int(),
};

const step = z.int().min(0).max(MAX_TIMESTEPS);
/** Index of the image in the prediction. */
const index = z
  .int()
  .min(0)
  .max(MAX_IMAGES - 1);
/** The attachment is a file of so many pixels, or of so many tokens. */
const size = { width: z.int().min(1), height: z.int().min(1) };

export const predictionEventSchema = z.discriminatedUnion("type", [
  z.strictObject({
    ...base,
    type: z.literal("started"),
    /** The worker's name, for operators. */
    worker: z.string().max(MAX_WORKER_NAME),
    /** Identifies everything that determines the bits of the result: weights, provider, quantization, runtime. */
    numericsId: z.string().max(100),
    /** Steps already completed by an earlier attempt; 0 for a start from noise. */
    resumedFrom: step,
    total: step,
    /** The worker hands the job back when asked. Said only to hubs that may ask: others do not know the field. */
    yields: z.literal(true).optional(),
  }),
  /**
   * What an attempt from the beginning begins with, before its first step; for receipts. Its attachment is like a step's. Said
   * only to hubs that ask for it.
   */
  z.strictObject({
    ...base,
    type: z.literal("beginning"),
    /** Steps that a source has spared the run. */
    step,
    images: z.int().min(1).max(MAX_IMAGES),
    held: heldSchema,
  }),
  z.strictObject({
    ...base,
    type: z.literal("step"),
    /**
     * Completed steps, 1 .. total. A job whose source spares it the first steps reports the state that it starts from as the
     * last of those.
     */
    step,
    total: step,
    /** The diffusion timestep just left, numTrainTimesteps - 1 .. 0. */
    timestep: step,
    /** Latent pixels still masked, over all images. */
    masked: z.int().min(0),
    /** Images in the attachment, each of latentHeight x latentWidth class ids (uint16 LE). */
    images: z.int().min(1).max(MAX_IMAGES),
  }),
  z.strictObject({
    ...base,
    type: z.literal("preview"),
    index,
    /** Counts an image's previews from 0. They arrive in order, those of all images before the next. */
    preview: z
      .int()
      .min(0)
      .max(MAX_PREVIEWS - 1),
    /** The step whose most likely result is shown; later steps may be reported before it. */
    step,
    format: z.enum(IMAGE_FORMATS),
    ...size,
  }),
  z.strictObject({
    ...base,
    type: z.literal("output"),
    index,
    format: z.enum(OUTPUT_FORMATS),
    ...size,
    seed: seedSchema,
  }),
  z.strictObject({
    ...base,
    type: z.literal("succeeded"),
    /** Seconds of this attempt, from the job's receipt to its last image. */
    predictSeconds: z.number().min(0),
  }),
  z.strictObject({
    ...base,
    type: z.literal("failed"),
    error: z.strictObject({ code: z.enum(ERROR_CODES), message: z.string().max(2_000) }),
  }),
  z.strictObject({ ...base, type: z.literal("canceled") }),
  /** The attempt has ended because the hub asked for the job: the state is stored, and the job is no longer in the queue. */
  z.strictObject({
    ...base,
    type: z.literal("yielded"),
    /** Completed steps. */
    step,
    /** Seconds of this attempt. */
    predictSeconds: z.number().min(0),
  }),
]);

export type PredictionEvent = z.infer<typeof predictionEventSchema>;
export type StepEvent = Extract<PredictionEvent, { type: "step" }>;
export type PreviewEvent = Extract<PredictionEvent, { type: "preview" }>;
export type OutputEvent = Extract<PredictionEvent, { type: "output" }>;

/** Whether the event is the last one of a prediction. */
export function isTerminalEvent(event: PredictionEvent): boolean {
  return event.type === "succeeded" || event.type === "failed" || event.type === "canceled";
}

/**
 * The diffusion state of a job after `step` steps: together with the job itself, everything that another worker needs. Its
 * attachment holds the token ids, and is empty before the first step. Unknown fields are ignored, so that workers of two
 * releases can continue from each other's states.
 */
export const jobStateSchema = z.object({
  v: z.literal(1),
  // Leaves a number for the next attempt.
  attempt: z
    .int()
    .min(1)
    .max(MAX_ATTEMPT - 1),
  numericsId: z.string().max(100),
  step,
  images: z.int().min(1).max(MAX_IMAGES),
  /** Attempts that have begun since the last step was completed: a job that only kills its workers completes none. */
  starts: z.int().min(0).max(MAX_ATTEMPT).default(0),
  /** All attempts that have begun, except those given up through no fault of the job. */
  claims: z.int().min(0).max(MAX_ATTEMPT).default(0),
  /** Unique id of the attempt that has written it. */
  owner: z.string().max(100).default(""),
});

export type JobState = z.infer<typeof jobStateSchema>;
