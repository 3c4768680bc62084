// A played worker's reporter of a job: the one that workers have.

import { encodeTokens, type Framed } from "@vqd/shared/codec.ts";
import type { JobState, PredictionEvent } from "@vqd/shared/events.ts";
import { imageCount, type Job } from "@vqd/shared/job.ts";
import { encodeBatch } from "@vqd/shared/steps/batch.ts";
import { eventSubject } from "@vqd/shared/subjects.ts";
import { BatchPublisher } from "../../../gpu-worker/jobs/batch-publisher.ts";
import { Fence } from "../../../gpu-worker/jobs/fence.ts";
import type { JobReporter } from "../../../gpu-worker/jobs/reporter.ts";
import { BENCH_KEY, MODEL, type PlayedWorker } from "./played-worker.ts";

/** `VQD_PUBLISH_INTERVAL_MS` by default. */
const INTERVAL_MS = 50;
const MAX_PAYLOAD = 1024 ** 2;

/** The reporter of a job that is claimed. */
export async function reporterOf(
  { js }: Pick<PlayedWorker, "js">,
  job: Job,
  intervalMs = INTERVAL_MS,
): Promise<JobReporter> {
  const { signal } = new AbortController();
  const reporter = new BatchPublisher({
    fence: new Fence({
      js,
      subject: eventSubject(job.shard, BENCH_KEY, job.id),
      read: () => Promise.reject(new Error("nobody else has the job")),
      sequence: 0,
      signal,
    }),
    intervalMs,
    attempt: 1,
    numericsId: "n",
    startsBefore: 0,
    claimsBefore: 0,
    onReplaced: () => {},
    maxPayload: () => MAX_PAYLOAD,
    signal,
  });
  const started = {
    type: "started",
    worker: "bench",
    numericsId: "n",
    resumedFrom: 0,
    total: job.numInferenceSteps,
  } as const;
  if (!(await reporter.claim({ resume: undefined, images: imageCount(job), started }, signal))) {
    throw new Error("the job could not be claimed");
  }
  return reporter;
}

/** Steps that fall into an interval if each takes a millisecond. */
const STEPS_OF_INTERVAL = INTERVAL_MS;
const IMAGE_BYTES = 16_000;

/** What a worker says of a job of one image whose steps take 1 ms each, message by message. */
export function framesOf(job: Job): Uint8Array[] {
  const total = job.numInferenceSteps;
  const pixels = MODEL.latentHeight * MODEL.latentWidth;
  const tokens = new Uint16Array(pixels).fill(MODEL.numVectorEmbeds - 1);
  const base = { v: 1, attempt: 1, at: Date.now() } as const;
  const none = new Uint8Array();
  const stateAfter = (step: number): JobState => ({
    v: 1,
    attempt: 1,
    numericsId: "n",
    step,
    images: 1,
    starts: step === 0 ? 1 : 0,
    claims: 1,
    owner: "bench",
  });
  const frames: Uint8Array[] = [];
  const send = (step: number, events: Framed<PredictionEvent>[]): void => {
    const bytes = step === 0 ? none : encodeTokens(tokens);
    frames.push(encodeBatch({ n: frames.length, state: stateAfter(step), tokens: bytes, events }));
  };
  const started = { type: "started", worker: "bench", numericsId: "n", resumedFrom: 0, total } as const;
  send(0, [{ value: { ...base, ...started }, attachment: none }]);
  let steps: Framed<PredictionEvent>[] = [];
  for (let step = 1; step <= total; step++) {
    for (let at = step; at < pixels; at += total) tokens[at] = at;
    const value = {
      ...base,
      type: "step",
      step,
      total,
      timestep: total - step,
      masked: 0,
      images: 1,
    } as const;
    steps.push({ value, attachment: encodeTokens(tokens) });
    if (step === 1 || step === total || steps.length === STEPS_OF_INTERVAL) {
      send(step, steps);
      steps = [];
    }
  }
  const file = { format: "png", width: MODEL.imageWidth, height: MODEL.imageHeight, seed: 1 } as const;
  send(total, [
    { value: { ...base, type: "output", index: 0, ...file }, attachment: new Uint8Array(IMAGE_BYTES) },
    { value: { ...base, type: "succeeded", predictSeconds: 0.1 }, attachment: none },
  ]);
  return frames;
}
