// What a job costs NATS and its hub, counted from what is sent, and how many workers that leaves room for.

import { encodeEvent, encodeJob, encodeState } from "@vqd/shared/codec.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { makeJob } from "../../support/job.ts";

export interface JobSize {
  readonly images: number;
  readonly steps: number;
  /** Tokens of one image. */
  readonly tokens: number;
  /** Text tokens of its prompt. */
  readonly textTokens: number;
  /** Of one encoded image. */
  readonly imageBytes: number;
  /** From its delivery to its end. */
  readonly seconds: number;
  readonly leaseSeconds: number;
}

export interface JobCost {
  /** Messages that JetStream stores on disk. */
  readonly stored: number;
  readonly storedBytes: number;
  /** Messages that the server takes and gives. */
  readonly inMessages: number;
  readonly outMessages: number;
  /** Events that the hub makes take effect. */
  readonly hubEvents: number;
  /** SQLite rows that it writes for them. */
  readonly hubRows: number;
}

/** A delivery is extended three times in a lease. */
const EXTENSIONS_PER_LEASE = 3;
/** Rows of a step's event: cursor, prediction twice, event; of its line in the log: prediction twice, event. */
const STEP_ROWS = 4;
const LOG_ROWS = 3;
/** Rows of start, of an image and of the end: cursor, prediction twice, event. */
const OTHER_ROWS = 4;
/** Rows of a create: the prediction and, later, the place of its job. */
const CREATE_ROWS = 2;

/** A frame of each kind, as it is sent. */
function frameBytes({ images, steps, tokens, textTokens, imageBytes }: JobSize) {
  const base = { v: 1, attempt: 1, at: Date.now() } as const;
  const numericsId = "0".repeat(64);
  const event = (body: object, attachment?: Uint8Array): number =>
    encodeEvent({ ...base, ...body } as PredictionEvent, attachment).length;
  const step = { type: "step", step: steps, total: steps, timestep: steps, masked: images * tokens, images };
  return {
    job: encodeJob(
      makeJob({
        model: "vqd/emoji",
        version: "0".repeat(64),
        createdAt: base.at,
        deadlineAt: base.at,
        prompts: [Array.from({ length: textTokens }, () => 49_407)],
        numInferenceSteps: steps,
        numImagesPerPrompt: images,
        seed: 2 ** 32,
      }),
    ).length,
    started: event({ type: "started", worker: "gpu-worker-12345", numericsId, resumedFrom: 0, total: steps }),
    step: event(step, new Uint8Array(2 * tokens * images)),
    state: encodeState(
      { v: 1, attempt: 1, numericsId, step: steps, images, starts: 0, claims: 1, owner: "00000000" },
      new Uint16Array(tokens * images),
    ).length,
    output: event(
      { type: "output", index: 0, format: "png", width: 256, height: 256, seed: 2 ** 32 },
      new Uint8Array(imageBytes),
    ),
    succeeded: event({ type: "succeeded", predictSeconds: 1.234_567 }),
  };
}

export function jobCost(size: JobSize): JobCost {
  const { images, steps, seconds, leaseSeconds } = size;
  const bytes = frameBytes(size);
  // Started, the steps, the images, the end.
  const hubEvents = 1 + steps + images + 1;
  // The claim, one for each step (a newer one overtakes an older one under load), and that which ends the attempt.
  const states = steps + 2;
  // The job and the events, and the states.
  const stored = 1 + hubEvents + states;
  const storedBytes =
    bytes.job +
    bytes.started +
    steps * bytes.step +
    states * bytes.state +
    images * bytes.output +
    bytes.succeeded;
  const extensions = Math.floor((seconds * EXTENSIONS_PER_LEASE) / leaseSeconds);
  // A pull from the urgent queue and one from the normal one, the read of a stored state, the acknowledgement.
  const requests = 4;
  return {
    stored,
    storedBytes,
    inMessages: stored + requests + extensions,
    // Each of those is answered; events go on to the hub.
    outMessages: stored + requests + hubEvents,
    hubEvents,
    // Progress is logged once for each per cent.
    hubRows: CREATE_ROWS + steps * STEP_ROWS + Math.min(steps, 100) * LOG_ROWS + (2 + images) * OTHER_ROWS,
  };
}

export interface Limits {
  /** Messages a second that JetStream stores, of the size of a step's. */
  readonly storedPerSecond: number;
  readonly storedBytesPerSecond: number;
  /** Events a second that one hub makes take effect. */
  readonly hubEventsPerSecond: number;
}

export interface Reach {
  /** Jobs a second at which it is used up. */
  readonly natsJobsPerSecond: number;
  readonly hubJobsPerSecond: number;
  /** Workers that make so many. */
  readonly natsWorkers: number;
  readonly hubWorkers: number;
}

/** How far one nats-server and one hub reach, with workers that make `jobsPerSecond` each. */
export function reachOf(cost: JobCost, limits: Limits, jobsPerSecond: number): Reach {
  const natsJobsPerSecond = Math.min(
    limits.storedPerSecond / cost.stored,
    limits.storedBytesPerSecond / cost.storedBytes,
  );
  const hubJobsPerSecond = limits.hubEventsPerSecond / cost.hubEvents;
  return {
    natsJobsPerSecond,
    hubJobsPerSecond,
    natsWorkers: natsJobsPerSecond / jobsPerSecond,
    hubWorkers: hubJobsPerSecond / jobsPerSecond,
  };
}
