// One job as a client sends it: create with `Prefer: wait`, ask on until it has ended, or take the refusal.

import { setTimeout as delay } from "node:timers/promises";
import { request } from "../../integration/support/client.ts";
import type { Caller } from "./callers.ts";

const POLL_MS = 250;
/** Beyond the edge's own deadlines, so that it is the edge that ends a job. */
const GIVE_UP_MS = 180_000;
/** Answers that tell a client to come again. */
const REFUSALS: ReadonlySet<number> = new Set([429, 503]);

export interface Done {
  readonly kind: "done";
  readonly caller: Caller;
  /** From the moment it was due to the answer with its images. */
  readonly latencyMs: number;
  /** Unix times in ms at which the worker began and ended. */
  readonly startedAt: number;
  readonly completedAt: number;
}

export interface Refused {
  readonly kind: "refused";
  readonly caller: Caller;
  readonly status: number;
  /** As in the answer's body. */
  readonly code: string;
  readonly latencyMs: number;
}

/** Everything else, and a refusal that does not say when to come again. */
export interface Failed {
  readonly kind: "failed";
  readonly caller: Caller;
  readonly reason: string;
}

export type Outcome = Done | Refused | Failed;

interface Prediction {
  readonly id: string;
  readonly status: string;
  readonly output: readonly string[] | null;
  readonly error: string | null;
  readonly started_at: string | null;
  readonly completed_at: string | null;
}

const LIVE: ReadonlySet<string> = new Set(["starting", "processing"]);

export interface Api {
  readonly url: string;
  /** Keys by the name of their caller. */
  readonly keys: ReadonlyMap<string, string>;
  readonly steps: number;
}

/** Never rejects. `dueAt` as of performance.now(): a request that had to wait for others counts its wait. */
export async function runJob(api: Api, caller: Caller, seed: number, dueAt: number): Promise<Outcome> {
  try {
    return await attempt(api, caller, seed, dueAt);
  } catch (error) {
    return { kind: "failed", caller, reason: error instanceof Error ? error.message : String(error) };
  }
}

async function attempt(api: Api, caller: Caller, seed: number, dueAt: number): Promise<Outcome> {
  const client = { url: api.url, apiKey: api.keys.get(caller.name) ?? "" };
  const input = {
    // No two alike: what is kept of prompts must not help.
    prompt: `grinning face ${seed}`,
    seed,
    num_outputs: caller.images,
    num_inference_steps: api.steps,
    scheduler: "strided",
  };
  const signal = AbortSignal.timeout(GIVE_UP_MS);
  const answer = await request(client, "/v1/predictions", { input }, { headers: { prefer: "wait" }, signal });
  if (REFUSALS.has(answer.status)) {
    const { code = "" } = (await answer.json()) as { code?: string };
    const latencyMs = performance.now() - dueAt;
    if (!(Number(answer.headers.get("retry-after")) >= 1)) {
      return { kind: "failed", caller, reason: `${answer.status} ${code} without Retry-After` };
    }
    return { kind: "refused", caller, status: answer.status, code, latencyMs };
  }
  if (answer.status !== 201) throw new Error(`create answered ${answer.status}`);
  let prediction = (await answer.json()) as Prediction;
  while (LIVE.has(prediction.status)) {
    await delay(POLL_MS, undefined, { signal });
    const next = await request(client, `/v1/predictions/${prediction.id}`, undefined, { signal });
    if (next.status !== 200) throw new Error(`get answered ${next.status}`);
    prediction = (await next.json()) as Prediction;
  }
  const latencyMs = performance.now() - dueAt;
  const { status, output, error, started_at, completed_at } = prediction;
  if (status !== "succeeded") throw new Error(`${status}: ${error}`);
  if (output?.length !== caller.images) throw new Error(`${output?.length} of ${caller.images} images`);
  return {
    kind: "done",
    caller,
    latencyMs,
    startedAt: Date.parse(started_at ?? ""),
    completedAt: Date.parse(completed_at ?? ""),
  };
}
