// Many readers of one prediction's event stream: quick, slow, disconnecting and resuming, and what they cost the edge.

import { setTimeout as delay } from "node:timers/promises";
import type { Stack } from "../../../infra/stack/stack.ts";
import type { Job } from "@vqd/shared/job.ts";
import { type ApiClient, request } from "../../integration/support/client.ts";
import { residentMb } from "./memory.ts";
import { percentile } from "./percentile.ts";
import { MODEL, PlayedWorker } from "./played-worker.ts";

const STEPS = 1_000;
/** Between two steps. */
const STEP_MS = 30;
const SAMPLE_MS = 250;

/** How a reader behaves; the whole stream is about 3 MB. */
const KINDS = ["quick", "slow", "stalled", "leaving", "resuming"] as const;
type Kind = (typeof KINDS)[number];

export interface ReadersReport {
  readonly readers: number;
  readonly events: number;
  readonly stream_mb: number;
  /** Readers that stayed and saw each event once, in order, of those that stayed. */
  readonly complete: number;
  readonly stayed: number;
  readonly seconds: number;
  /** Memory of workerd: before, at most while all read, and at the end. */
  readonly rss_mb: { readonly before: number; readonly most: number; readonly after: number };
  /** From the worker's word to a quick reader, ms. */
  readonly delay_ms: { readonly p50: number; readonly p99: number };
}

interface Seen {
  readonly ids: number[];
  readonly delays: number[];
  bytes: number;
  ended: boolean;
}

/** Reads frames, and calls `pace` after each chunk; true from it ends the reading. */
async function read(
  { url, apiKey }: ApiClient,
  id: string,
  seen: Seen,
  pace: (chunk: number) => Promise<boolean>,
): Promise<void> {
  const leaving = new AbortController();
  const response = await fetch(`${url}/v1/predictions/${id}/events`, {
    headers: { authorization: `Bearer ${apiKey}`, "last-event-id": String(seen.ids.at(-1) ?? 0) },
    signal: leaving.signal,
  });
  if (response.status !== 200 || response.body === null)
    throw new Error(`events answered ${response.status}`);
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  for (let chunk = 0; ; chunk++) {
    const { done, value = "" } = await reader.read();
    if (done) break;
    seen.bytes += value.length;
    text += value;
    const frames = text.split("\n\n");
    text = frames.pop() ?? "";
    for (const frame of frames) {
      const [, seq, type] = /^id: (\d+)\nevent: (\w+)/.exec(frame) ?? [];
      if (seq === undefined) continue;
      seen.ids.push(Number(seq));
      if (type === "done") seen.ended = true;
      const at = /"timestep":\d+/.test(frame) ? sent.get(Number(/"step":(\d+)/.exec(frame)?.[1])) : undefined;
      if (at !== undefined) seen.delays.push(performance.now() - at);
    }
    if (await pace(chunk)) {
      leaving.abort();
      await reader.cancel().catch(() => {});
      return;
    }
  }
}

/** When each step was said. */
const sent = new Map<number, number>();

async function behave(kind: Kind, client: ApiClient, id: string, stalled: Promise<void>): Promise<Seen> {
  const seen: Seen = { ids: [], delays: [], bytes: 0, ended: false };
  const never = async (): Promise<boolean> => false;
  if (kind === "quick") await read(client, id, seen, never);
  if (kind === "slow") {
    await read(client, id, seen, async () => {
      await delay(50);
      return false;
    });
  }
  if (kind === "stalled") {
    await read(client, id, seen, async (chunk) => {
      if (chunk === 2) await stalled;
      return false;
    });
  }
  if (kind === "leaving") await read(client, id, seen, async (chunk) => chunk === 20);
  if (kind === "resuming") {
    for (let times = 0; times < 5 && !seen.ended; times++) {
      await read(client, id, seen, async (chunk) => times < 4 && chunk === 50);
    }
  }
  return seen;
}

async function play(worker: PlayedWorker, job: Job): Promise<void> {
  await worker.say(job, { type: "started", worker: "bench", numericsId: "n", resumedFrom: 0, total: STEPS });
  const tokens = new Uint8Array(MODEL.latentHeight * MODEL.latentWidth * 2);
  let next = performance.now();
  for (let step = 1; step <= STEPS; step++) {
    sent.set(step, performance.now());
    const body = { step, total: STEPS, timestep: STEPS - step, masked: 0, images: 1 } as const;
    await worker.say(job, { type: "step", ...body }, tokens);
    next += STEP_MS;
    await delay(Math.max(0, next - performance.now()));
  }
  await worker.say(job, { type: "canceled" });
}

/** The same `rounds` times, since memory used once is not given back at once: what counts is whether it grows. */
export async function measureReaders(stack: Stack, count: number, rounds: number): Promise<ReadersReport[]> {
  await using worker = await PlayedWorker.start(stack);
  const reports: ReadersReport[] = [];
  for (let round = 0; round < rounds; round++) reports.push(await oneRound(stack, worker, count));
  return reports;
}

async function oneRound(stack: Stack, worker: PlayedWorker, count: number): Promise<ReadersReport> {
  const input = { prompt: "a", num_inference_steps: STEPS };
  const created = await request(stack, `/v1/models/${MODEL.name}/predictions`, { input });
  if (created.status !== 201) throw new Error(`create answered ${created.status}: ${await created.text()}`);
  const { id } = (await created.json()) as { id: string };
  const job = await worker.nextJob();
  const pid = stack.edge.pid ?? 0;
  const rss = (): number => residentMb(pid, "workerd");
  const before = rss();
  let most = before;
  const sampling = setInterval(() => (most = Math.max(most, rss())), SAMPLE_MS);
  const startedAt = performance.now();
  const stalled = Promise.withResolvers<void>();
  const readers = Array.from({ length: count }, (_, i) => {
    const kind = KINDS[i % KINDS.length] ?? "quick";
    return behave(kind, stack, id, stalled.promise).then((seen) => ({ kind, seen }));
  });
  await play(worker, job);
  stalled.resolve();
  const results = await Promise.all(readers);
  clearInterval(sampling);
  const seconds = (performance.now() - startedAt) / 1_000;

  const stayed = results.filter(({ kind }) => kind !== "leaving");
  const events = Math.max(...stayed.map(({ seen }) => seen.ids.length));
  const complete = stayed.filter(
    ({ seen }) => seen.ended && seen.ids.length === events && seen.ids.every((seq, i) => seq === i + 1),
  );
  const quick = results.filter(({ kind }) => kind === "quick");
  const delays = quick.flatMap(({ seen }) => seen.delays).toSorted((a, b) => a - b);
  return {
    readers: count,
    events,
    stream_mb: Math.round((quick[0]?.seen.bytes ?? 0) / 1e5) / 10,
    complete: complete.length,
    stayed: stayed.length,
    seconds: Math.round(seconds * 10) / 10,
    rss_mb: { before, most, after: rss() },
    delay_ms: { p50: percentile(delays, 0.5), p99: percentile(delays, 0.99) },
  };
}
