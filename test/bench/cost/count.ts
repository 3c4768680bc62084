// Plays one prediction as a worker does, with its publisher, and counts what it takes.

import { setTimeout as delay } from "node:timers/promises";
import type { JetStreamClient } from "@nats-io/jetstream";
import type { Stack } from "../../../infra/stack/stack.ts";
import { request } from "../../integration/support/client.ts";
import { MODEL, type PlayedWorker } from "../edge/played-worker.ts";
import { reporterOf } from "../edge/reporting.ts";

export interface Case {
  readonly steps: number;
  readonly images: number;
  readonly stepMs: number;
}

export interface Cost {
  /** Stored by JetStream, the job included. */
  readonly messages: number;
  readonly messageBytes: number;
  /** Written by the hub's database, entries of indexes and deletions included. */
  readonly rows: number;
}

const IMAGE_BYTES = 16_000;
const PIXELS = MODEL.latentHeight * MODEL.latentWidth;
const MASK = MODEL.numVectorEmbeds - 1;
const GONE_LIMIT_MS = 60_000;
const POLL_MS = 100;

async function rowsWritten(stack: Stack): Promise<number> {
  const text = await (await request(stack, "/metrics")).text();
  return Number(/^vqd_hub_rows_written_total\{[^}]*\} (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

/** The tokens of a run, as the default schedule has them: at each step some masked pixels get their class. */
function* states({ steps, images }: Case): Generator<Uint16Array> {
  const tokens = new Uint16Array(images * PIXELS).fill(MASK);
  for (let step = 0; step < steps; step++) {
    for (let at = step; at < tokens.length; at += steps) tokens[at] = (at * 7_919) % MASK;
    yield tokens.slice();
  }
}

/** What a client publishes to streams, counted. */
function counted(js: JetStreamClient): { js: JetStreamClient; messages: number; bytes: number } {
  const counts = { js, messages: 0, bytes: 0 };
  counts.js = new Proxy(js, {
    get: (target, property) => {
      if (property !== "publish") return Reflect.get(target, property) as unknown;
      return (subject: string, payload: Uint8Array, options: object) => {
        counts.messages++;
        counts.bytes += subject.length + payload.length;
        return target.publish(subject, payload, options);
      };
    },
  });
  return counts;
}

export async function costOf(stack: Stack, worker: PlayedWorker, one: Case): Promise<Cost> {
  const before = await rowsWritten(stack);
  const input = { prompt: "a", num_inference_steps: one.steps, num_outputs: one.images };
  const created = await request(stack, `/v1/models/${MODEL.name}/predictions`, { input });
  if (created.status !== 201) throw new Error(`create answered ${created.status}: ${await created.text()}`);
  const { id } = (await created.json()) as { id: string };
  const job = await worker.nextJob();
  const counts = counted(worker.js);
  const reporter = await reporterOf({ js: counts.js }, job);
  let next = performance.now();
  let step = 0;
  for (const tokens of states(one)) {
    next += one.stepMs;
    await delay(Math.max(0, next - performance.now()));
    const masked = tokens.reduce((sum, token) => sum + (token === MASK ? 1 : 0), 0);
    const timestep = one.steps - ++step;
    reporter.publishStep(
      { type: "step", step, total: one.steps, timestep, masked, images: one.images },
      tokens,
    );
  }
  const size = { width: MODEL.imageWidth, height: MODEL.imageHeight };
  for (let index = 0; index < one.images; index++) {
    // As long as an image takes to be decoded.
    await delay(20);
    const file = new Uint8Array(IMAGE_BYTES).map((_, at) => (at * 31) % 256);
    reporter.publish({ type: "output", index, format: "png", ...size, seed: 1 }, file);
  }
  reporter.publish({ type: "succeeded", predictSeconds: 1 });
  await reporter.finish();
  const end = AbortSignal.timeout(GONE_LIMIT_MS);
  for (;;) {
    const { status } = await request(stack, `/v1/predictions/${id}`, undefined, { signal: end });
    if (status === 404) break;
    await delay(POLL_MS);
  }
  return {
    messages: counts.messages + 1,
    messageBytes: counts.bytes,
    rows: (await rowsWritten(stack)) - before,
  };
}
