// The honest tenant: single images, their webhooks, and its list in between. After each it pauses for as long as the image took:
// one that has a worker to itself all the time cannot share it with another and be as quick.

import { setTimeout as delay } from "node:timers/promises";
import { request } from "../../integration/support/client.ts";
import type { AbuseSystem } from "./system.ts";

export const MEASURES = ["create", "result", "webhook", "list"] as const;
export type Measure = (typeof MEASURES)[number];
/** ms of each sample. */
export type Samples = Readonly<Record<Measure, readonly number[]>>;
export type Behaved = Samples & { readonly ids: readonly string[] };

const INPUT = { prompt: "a red apple", num_inference_steps: 5 };
const WEBHOOK_LIMIT_MS = 60_000;

interface Created {
  readonly id: string;
  readonly urls: { readonly events: string; readonly get: string };
}
interface Ended {
  readonly status: string;
  readonly completed_at: string;
}

/** The answer's body. Throws what it was refused with: the honest tenant never is. */
async function expectOk<T>(what: string, response: Response): Promise<T> {
  if (!response.ok)
    throw new Error(`the honest tenant's ${what} was answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as T;
}

/** Makes `count` images, and measures each. Throws if anything of it is refused, fails or does not arrive. */
export async function behave({ honest, receiver }: AbuseSystem, count: number): Promise<Behaved> {
  const samples: Record<Measure, number[]> = { create: [], result: [], webhook: [], list: [] };
  const ids: string[] = [];
  const timed = async <T>(measure: Measure, work: () => Promise<T>): Promise<T> => {
    const startedAt = performance.now();
    const result = await work();
    samples[measure].push(performance.now() - startedAt);
    return result;
  };
  for (let i = 0; i < count; i++) {
    const body = { input: INPUT, webhook: receiver.url, webhook_events_filter: ["completed"] };
    const startedAt = performance.now();
    const { id } = await timed("create", async () =>
      expectOk<Created>("create", await request(honest, "/v1/predictions", body)),
    );
    ids.push(id);
    // The stream ends with the prediction.
    const stream = await request(honest, `/v1/predictions/${id}/events`);
    if (!stream.ok) throw new Error(`the honest tenant's stream was answered ${stream.status}`);
    await stream.text();
    const tookMs = performance.now() - startedAt;
    samples.result.push(tookMs);
    const ended = await expectOk<Ended>("read", await request(honest, `/v1/predictions/${id}`));
    if (ended.status !== "succeeded") throw new Error(`the honest tenant's prediction ${ended.status}`);
    const limit = AbortSignal.timeout(WEBHOOK_LIMIT_MS);
    const arrivedAt = await Promise.race([
      receiver.arrivalOf(id),
      new Promise<never>((_, reject) =>
        limit.addEventListener("abort", () =>
          reject(new Error("the honest tenant's webhook did not arrive")),
        ),
      ),
    ]);
    samples.webhook.push(Math.max(0, arrivedAt - Date.parse(ended.completed_at)));
    await timed("list", async () => expectOk("list", await request(honest, "/v1/predictions?limit=20")));
    await delay(tookMs);
  }
  return { ...samples, ids };
}
