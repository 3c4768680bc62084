// The figures that the simulation starts from, measured on this machine: steps, decoding, NATS, a hub.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { newPredictionId } from "@vqd/shared/ids.ts";
import type { Job } from "@vqd/shared/job.ts";
import { eventSubject, stateSubject } from "@vqd/shared/subjects.ts";
import { BUNDLED_MODEL } from "../../../gpu-worker/config.ts";
import { encodeImageFile } from "../../../gpu-worker/pipeline/image.ts";
import { VQDiffusionPipeline } from "../../../gpu-worker/pipeline/pipeline.ts";
import { REPO } from "../../../infra/stack/paths.ts";
import { type Stack, startStack } from "../../../infra/stack/stack.ts";
import { request } from "../../integration/support/client.ts";
import { TINY_MODEL } from "../../integration/support/stack.ts";
import { BENCH_KEY, MODEL, PlayedWorker } from "../edge/played-worker.ts";
import { framesOf } from "../edge/reporting.ts";
import { onInterrupt } from "../interrupt.ts";
import { CALLERS } from "../load/callers.ts";
import { runJob } from "../load/client.ts";
import { startSystem } from "../load/system.ts";
import { describeMachine } from "../machine.ts";
import { durationsOf, makeSlots, spreadOf } from "../step-case.ts";
import { inFlight } from "./in-flight.ts";

const PASS_IMAGES = [1, 2, 3, 4, 6, 8, 10];
const REPEATS = 10;
const ROUNDS = 3;
const QUEUE_LIMIT = 10_000;
const NO_LIMITS = {
  RATE_LIMIT_PER_MINUTE: "1000000",
  LIVE_LIMIT: "1000000",
  READ_LIMIT_PER_MINUTE: "1000000",
};

export interface StepFigures {
  readonly threads: number;
  /** ms of a pass over 1, 2, ... 10 images; between those measured by interpolation. */
  readonly step_ms: readonly number[];
  readonly decode_ms: number;
  readonly image_bytes: number;
}

async function measureSteps(threads: number): Promise<StepFigures> {
  const pipeline = await VQDiffusionPipeline.fromPretrained(BUNDLED_MODEL, {
    threads,
    quantization: "int8",
    cacheDir: join(REPO, ".vqd", "cache"),
  });
  try {
    const known = new Map<number, number>();
    for (const images of PASS_IMAGES) {
      const slots = await makeSlots(pipeline, { images, guidance: false });
      const middle = Math.floor(pipeline.info.numTrainTimesteps / 2);
      for (const { tokens } of slots)
        for (let at = 0; at < tokens.length; at += 2) tokens[at] = at % pipeline.info.numEmbeddings;
      const durations = await durationsOf(REPEATS, () => {
        for (const slot of slots) slot.stepIndex = middle;
        return pipeline.stepSlots(slots);
      });
      known.set(images, spreadOf(durations).median);
    }
    const { images } = await pipeline.call({
      prompt: "grinning face",
      scheduler: "strided",
      numInferenceSteps: 10,
      seed: 7,
    });
    const [image] = images;
    if (image === undefined) throw new Error("there is no image");
    const tokens = new Uint16Array(pipeline.info.latentHeight * pipeline.info.latentWidth).map((_, i) => i);
    const decoding = await durationsOf(REPEATS, async () => {
      const [decoded] = await pipeline.decode([tokens]);
      if (decoded !== undefined) await encodeImageFile(decoded, "png");
    });
    return {
      threads,
      step_ms: interpolated(known),
      decode_ms: spreadOf(decoding).median,
      image_bytes: (await encodeImageFile(image, "png")).length,
    };
  } finally {
    await pipeline.release();
  }
}

/** Values for 1 to the largest known number. */
function interpolated(known: ReadonlyMap<number, number>): number[] {
  const numbers = [...known.keys()].toSorted((a, b) => a - b);
  return Array.from({ length: numbers.at(-1) ?? 0 }, (_, i) => {
    const count = i + 1;
    const below = numbers.findLast((number) => number <= count) ?? 1;
    const above = numbers.find((number) => number >= count) ?? below;
    const [low, high] = [known.get(below) ?? 0, known.get(above) ?? 0];
    const share = above === below ? 0 : (count - below) / (above - below);
    return Math.round(100 * (low + share * (high - low))) / 100;
  });
}

/** Of a shard that no hub follows, so that nothing but the server is measured. */
const UNFOLLOWED_SHARD = 1_000;
const PUBLISHED = 20_000;
const PUBLISH_AT_ONCE = 256;
const ROUND_TRIPS = 300;
/** A step of one image of 1,024 tokens, about. */
const SMALL_BYTES = 700;
const LARGE_BYTES = 16_384;

async function measureNats({ js }: PlayedWorker) {
  const subjects = Array.from({ length: 64 }, () => newPredictionId(0));
  const publish = (i: number, payload: Uint8Array): Promise<unknown> => {
    const id = subjects[i % subjects.length] ?? "";
    // Events and states in turns, as workers send them.
    return i % 2 === 0
      ? js.publish(eventSubject(UNFOLLOWED_SHARD, BENCH_KEY, id), payload, {
          msgID: `${id}:${i}:${payload.length}`,
        })
      : js.publish(stateSubject(BENCH_KEY, id), payload);
  };
  const rate = async (count: number, bytes: number): Promise<number> => {
    const payload = new Uint8Array(bytes);
    const startedAt = performance.now();
    await inFlight(count, PUBLISH_AT_ONCE, (i) => publish(i, payload));
    return (count * 1_000) / (performance.now() - startedAt);
  };
  await rate(PUBLISHED / 10, SMALL_BYTES);
  const small = await rate(PUBLISHED, SMALL_BYTES);
  const large = await rate(PUBLISHED / 5, LARGE_BYTES);
  let i = 0;
  const trips = await durationsOf(ROUND_TRIPS, () => publish(1 + 2 * i++, new Uint8Array(SMALL_BYTES)));
  return {
    stored_per_second: Math.round(small),
    stored_bytes_per_second: Math.round(large * LARGE_BYTES),
    round_trip_ms: spreadOf(trips).median,
  };
}

const HUB_PREDICTIONS = 60;
const HUB_STEPS = 100;
const CREATES = 400;
const CREATES_AT_ONCE = 16;
const END_POLL_MS = 20;

/** What workers with steps of 1 ms send, as fast as JetStream takes it, until the hub has ended the last prediction. */
async function measureHub(stack: Stack, worker: PlayedWorker) {
  const create = async (): Promise<string> => {
    const input = { prompt: "a", num_inference_steps: HUB_STEPS };
    const answer = await request(stack, `/v1/models/${MODEL.name}/predictions`, { input });
    if (answer.status !== 201) throw new Error(`create answered ${answer.status}: ${await answer.text()}`);
    return ((await answer.json()) as { id: string }).id;
  };
  const send = ({ id, shard }: Job, frame: Uint8Array): Promise<unknown> =>
    worker.js.publish(eventSubject(shard, BENCH_KEY, id), frame);
  const jobs: { job: Job; frames: Uint8Array[] }[] = [];
  for (let i = 0; i < HUB_PREDICTIONS; i++) {
    const id = await create();
    // An earlier round may have left some.
    let job = await worker.nextJob();
    for (; job.id !== id; job = await worker.nextJob()) await worker.say(job, { type: "canceled" });
    const [started = new Uint8Array(), ...frames] = framesOf(job);
    // Of those that wait, few are in the queue.
    await send(job, started);
    jobs.push({ job, frames });
  }
  const startedAt = performance.now();
  await inFlight(HUB_PREDICTIONS, PUBLISH_AT_ONCE / 8, async (index) => {
    const one = jobs[index];
    for (const frame of one?.frames ?? []) if (one !== undefined) await send(one.job, frame);
  });
  for (const { job } of jobs) {
    for (;;) {
      const answer = await request(stack, `/v1/predictions/${job.id}`);
      if (((await answer.json()) as { status: string }).status === "succeeded") break;
      await delay(END_POLL_MS);
    }
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const discarding = new AbortController();
  const discarded = worker.discardJobs(discarding.signal);
  const createsFrom = performance.now();
  await inFlight(CREATES, CREATES_AT_ONCE, create);
  const createSeconds = (performance.now() - createsFrom) / 1_000;
  discarding.abort();
  await discarded;
  return {
    events_per_second: Math.round(jobs.reduce((sum, { frames }) => sum + frames.length, 0) / seconds),
    creates_per_second: Math.round(CREATES / createSeconds),
  };
}

const COUNTED_JOBS = 10;
const COUNTED_STEPS = 10;

const monitorSchema = z.object({ in_msgs: z.number(), out_msgs: z.number(), in_bytes: z.number() });
const streamsSchema = z.object({
  account_details: z.array(
    z.object({ stream_detail: z.array(z.object({ state: z.object({ last_seq: z.number() }) })) }),
  ),
});

async function countersOf({ natsPorts }: Stack) {
  const ask = async (what: string): Promise<unknown> =>
    (await fetch(`http://127.0.0.1:${natsPorts.monitor}/${what}`)).json();
  const { in_msgs, out_msgs, in_bytes } = monitorSchema.parse(await ask("varz"));
  const { account_details: accounts } = streamsSchema.parse(await ask("jsz?streams=true"));
  const stored = accounts
    .flatMap(({ stream_detail: streams }) => streams)
    .reduce((sum, { state }) => sum + state.last_seq, 0);
  return { stored, in_msgs, out_msgs, in_bytes };
}

/** What nats-server counts for a job of one image by the real worker, made one after the other. */
async function measureMessages() {
  await using system = await startSystem({ workers: 1, slots: 1, steps: COUNTED_STEPS, queueLimit: 10 });
  const [caller] = CALLERS;
  const run = async (seed: number): Promise<void> => {
    if (caller === undefined) return;
    const outcome = await runJob(system.api, caller, seed, performance.now());
    if (outcome.kind !== "done") throw new Error(`a job was not done: ${JSON.stringify(outcome)}`);
  };
  await run(0);
  const before = await countersOf(system.stack);
  for (let seed = 1; seed <= COUNTED_JOBS; seed++) await run(seed);
  const after = await countersOf(system.stack);
  const each = (key: keyof typeof before): number =>
    Math.round((10 * (after[key] - before[key])) / COUNTED_JOBS) / 10;
  return {
    steps: COUNTED_STEPS,
    stored: each("stored"),
    in_messages: each("in_msgs"),
    out_messages: each("out_msgs"),
    in_bytes: Math.round(each("in_bytes")),
  };
}

export type Measured = Awaited<ReturnType<typeof measureAll>>;

/** Of rounds of which others on the machine may have disturbed some, the least of each time. */
function leastOf(rounds: readonly StepFigures[]): StepFigures {
  const [first] = rounds;
  if (first === undefined) throw new Error("nothing was measured");
  return {
    ...first,
    step_ms: first.step_ms.map((_, i) => Math.min(...rounds.map(({ step_ms: ms }) => ms[i] ?? Infinity))),
    decode_ms: Math.min(...rounds.map(({ decode_ms: ms }) => ms)),
  };
}

/** The same of rates: the most of each, and the least of a time. */
function bestOf<T extends Record<string, number>>(rounds: readonly T[]): T {
  const keys = Object.keys(rounds[0] ?? {});
  const best = keys.map((key) => {
    const all = rounds.map((round) => round[key] ?? Number.NaN);
    return [key, key.endsWith("_ms") ? Math.min(...all) : Math.max(...all)];
  });
  return Object.fromEntries(best) as T;
}

/** As often as the rounds, one after the other. */
async function repeated<T>(measure: () => Promise<T>): Promise<T[]> {
  const results: T[] = [];
  for (let round = 0; round < ROUNDS; round++) results.push(await measure());
  return results;
}

export async function measureAll() {
  const steps: StepFigures[] = [];
  for (const threads of new Set([1, describeMachine().cores]))
    steps.push(leastOf(await repeated(() => measureSteps(threads))));
  const data = mkdtempSync(join(tmpdir(), "vqd-simulate-"));
  const remove = (): void => rmSync(data, { recursive: true, force: true });
  const release = onInterrupt(remove);
  try {
    // The edge is ready once there is a model; then the bench plays the worker itself.
    const options = {
      workers: 1,
      model: TINY_MODEL,
      otherModels: [BENCH_KEY],
      queueLimit: QUEUE_LIMIT,
      edgeEnv: NO_LIMITS,
    };
    await using stack = await startStack({ ...options, data });
    await stack.workers[0]?.stop();
    await using worker = await PlayedWorker.start(stack);
    return {
      machine: describeMachine(),
      model: "emoji, int8, no guidance",
      steps,
      nats: bestOf(await repeated(() => measureNats(worker))),
      hub: bestOf(await repeated(() => measureHub(stack, worker))),
      job: await measureMessages(),
    };
  } finally {
    release();
    remove();
  }
}
