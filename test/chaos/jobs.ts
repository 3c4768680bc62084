// Jobs of all kinds, and clients that are not put off: what a prediction came to, however often something was away.

import { createHash } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { MASK, PICTURE } from "../support/edit-inputs.ts";
import {
  type ApiClient,
  getPrediction,
  type PredictionBody,
  readEvents,
  request,
  stepNumbers,
} from "../integration/support/client.ts";

const RETRY_MS = 200;
const FINAL = new Set(["succeeded", "failed", "canceled", "aborted"]);

export type Input = Record<string, unknown> & { num_inference_steps: number; num_outputs: number };

const PROMPTS = ["dog face", "pizza", "red heart", "rocket", "grinning face"];

const SAMPLERS = [
  { preset: "reference" },
  { preset: "reference", scheduler: "strided" },
  { prior_rule: 2, prior_weight: 1 },
  { order: "confidence", remasking: 0.1 },
  { order: "halton", temperature: 1 },
  {},
];

/** Owners of the jobs, in turn. Those of the last one are long, and are interrupted for the others'. */
export const OWNERS = 3;
export const isLong = (job: number): boolean => job % OWNERS === OWNERS - 1;

/** Steps, guidance, images, samplers and seeds that have no common period; `minSteps` to `minSteps` + 16 steps, long ones twice that. */
export const inputOf = (job: number, minSteps: number): Input => ({
  prompt: PROMPTS[job % PROMPTS.length],
  seed: 1_000 + job * 7_919,
  num_inference_steps: (minSteps + ((job * 5) % 17)) * (isLong(job) ? 2 : 1),
  guidance_scale: [1, 2.5, 5][job % 3],
  num_outputs: job % 7 === 3 ? 3 : 1,
  ...SAMPLERS[job % SAMPLERS.length],
  // With a strength of 1 edits make all steps, as the others do.
  ...(job % 4 === 1 ? { image: PICTURE, mask: MASK, strength: 1, feather: 2 } : {}),
});

/** Steps that a job takes without accidents, those of each image counted. */
export const stepsOf = ({ num_inference_steps: steps, num_outputs: images }: Input): number => steps * images;

/** Until it works; what is wrong with the request itself is an error at once. */
async function persist<T>(attempt: () => Promise<T | undefined>, signal: AbortSignal): Promise<T> {
  for (;;) {
    signal.throwIfAborted();
    const result = await attempt().catch(() => undefined);
    if (result !== undefined) return result;
    await delay(RETRY_MS);
  }
}

export interface Outcome {
  readonly prediction: PredictionBody;
  /** SHA-256 of each image. */
  readonly images: string[];
  /** Numbers of its step events, and how many events end it. */
  readonly steps: number[];
  readonly ends: number;
  /** How many attempts there were. */
  readonly attempts: number;
  /** From its creation to its end, as the client saw it. */
  readonly seconds: number;
}

/** Creates a prediction and follows it to its end, trying again whatever fails on the way. */
export async function insist(
  client: ApiClient,
  input: Input,
  { key, signal, onCreated = () => {} }: { key: string; signal: AbortSignal; onCreated?: () => void },
): Promise<Outcome> {
  const startedAt = performance.now();
  const { id } = await persist(async () => {
    const headers = { "idempotency-key": key };
    const response = await request(client, "/v1/predictions", { input }, { headers });
    if (response.status === 422) throw new Error(`refused: ${await response.text()}`);
    return response.ok ? ((await response.json()) as PredictionBody) : undefined;
  }, signal);
  onCreated();
  const prediction = await persist(async () => {
    const now = await getPrediction(client, id);
    return FINAL.has(now.status) ? now : undefined;
  }, signal);
  const seconds = (performance.now() - startedAt) / 1_000;
  const events = await persist(() => Array.fromAsync(readEvents(client, id)), signal);
  const images = await Promise.all(
    (prediction.output ?? []).map((url) =>
      persist(async () => {
        const response = await fetch(url);
        if (!response.ok) return undefined;
        return createHash("sha256")
          .update(new Uint8Array(await response.arrayBuffer()))
          .digest("hex");
      }, signal),
    ),
  );
  const ends = events.filter(({ event }) => event === "done").length;
  const attempts = events.filter(({ event }) => event === "started").length;
  return { prediction, images, steps: stepNumbers(events), ends, attempts, seconds };
}
