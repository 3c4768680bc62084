// What a job costs NATS and its hub, counted from what is sent, and how many workers that leaves room for.

import { encodeJob } from "@vqd/shared/codec.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { encodeBatch } from "@vqd/shared/steps/batch.ts";
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
  /** Messages of events that the hub makes take effect. */
  readonly hubEvents: number;
  /** SQLite rows that it writes for them, deletions included. */
  readonly hubRows: number;
}

/** A delivery is extended three times in a lease. */
const EXTENSIONS_PER_LEASE = 3;
/** Between two messages of a job: `VQD_PUBLISH_INTERVAL_MS` by default. */
const INTERVAL_SECONDS = 0.05;
/** Between two writes of a hub. */
const WRITE_SECONDS = 1;
/** Rows of a create, the start, the end and the deletion of all, as `npm run bench -- cost` counts them for one image. */
const FIXED_ROWS = 35;
/** Rows of a write of steps and of its deletion: the steps, the prediction, the cursor. */
const WRITE_ROWS = 4;
/** Rows of a further image: the prediction, its owner's usage, the event and its deletion. */
const IMAGE_ROWS = 4;

/** Bytes of what is sent. */
function frameBytes({ images, steps, tokens, textTokens, imageBytes }: JobSize, messages: number) {
  const base = { v: 1, attempt: 1, at: Date.now() } as const;
  const numericsId = "0".repeat(64);
  const state = {
    v: 1,
    attempt: 1,
    numericsId,
    step: steps,
    images,
    starts: 0,
    claims: 1,
    owner: "00000000",
  } as const;
  const batch = (events: readonly [object, Uint8Array<ArrayBuffer>?][], held: Uint8Array): number =>
    encodeBatch({
      n: 0,
      state,
      tokens: held,
      events: events.map(([body, attachment = new Uint8Array()]) => ({
        value: { ...base, ...body } as PredictionEvent,
        attachment,
      })),
    }).length;
  const masked = new Uint16Array(tokens * images).fill(0xff_ff);
  const statesOf = (from: number, to: number): [object, Uint8Array<ArrayBuffer>][] => {
    const list: [object, Uint8Array<ArrayBuffer>][] = [];
    for (let step = from; step <= to; step++) {
      for (let at = step; at < masked.length; at += steps) masked[at] = at;
      const body = { type: "step", step, total: steps, timestep: steps - step, masked: 0, images };
      list.push([body, new Uint8Array(masked.slice().buffer)]);
    }
    return list;
  };
  let stepBytes = 0;
  for (let sent = 0, done = 0; sent < messages; sent++) {
    const to = Math.round((steps * (sent + 1)) / messages);
    stepBytes += batch(statesOf(done + 1, to), new Uint8Array());
    done = to;
  }
  const started = { type: "started", worker: "gpu-worker-12345", numericsId, resumedFrom: 0, total: steps };
  const output = { type: "output", index: 0, format: "png", width: 256, height: 256, seed: 2 ** 32 };
  const succeeded = { type: "succeeded", predictSeconds: 1.234_567 };
  return {
    job: encodeJob(
      makeJob({
        model: "vqd/scenes",
        version: "0".repeat(64),
        createdAt: base.at,
        deadlineAt: base.at,
        prompts: [Array.from({ length: textTokens }, () => 49_407)],
        numInferenceSteps: steps,
        numImagesPerPrompt: images,
        seed: 2 ** 32,
      }),
    ).length,
    started: batch([[started]], new Uint8Array()),
    steps: stepBytes,
    output: batch([[output, new Uint8Array(imageBytes)]], new Uint8Array()),
    succeeded: batch([[succeeded]], new Uint8Array()),
  };
}

export function jobCost(size: JobSize): JobCost {
  const { images, steps, seconds, leaseSeconds } = size;
  // The first step, one in each interval, the last step.
  const stepMessages = Math.min(steps, 2 + Math.floor(seconds / INTERVAL_SECONDS));
  // Images too are sent together if they are made within an interval. All of that time goes to either, of which neither is known.
  const imageMessages = Math.min(images, 1 + Math.floor(seconds / INTERVAL_SECONDS));
  // Started, with the claim; the steps; the images, with the last of which the end is sent.
  const hubEvents = 1 + stepMessages + imageMessages;
  const bytes = frameBytes(size, stepMessages);
  const stored = 1 + hubEvents;
  const held = 2 * size.tokens * images;
  const storedBytes =
    bytes.job + bytes.started + bytes.steps + images * bytes.output + imageMessages * held + bytes.succeeded;
  const extensions = Math.floor((seconds * EXTENSIONS_PER_LEASE) / leaseSeconds);
  // A pull from the urgent queue and one from the normal one, the reads of a state and of a batch, the acknowledgement.
  const requests = 5;
  return {
    stored,
    storedBytes,
    inMessages: stored + requests + extensions,
    // Each of those is answered; events go on to the hub.
    outMessages: stored + requests + hubEvents,
    hubEvents,
    hubRows: FIXED_ROWS + WRITE_ROWS * Math.floor(seconds / WRITE_SECONDS) + IMAGE_ROWS * (images - 1),
  };
}

export interface Limits {
  /** Messages a second that JetStream stores, of the size of a step's. */
  readonly storedPerSecond: number;
  readonly storedBytesPerSecond: number;
  /** Messages of events a second that one hub makes take effect. */
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
