// Cancels running jobs while the others run and more wait, and watches the worker let go of them and take the next.

import { setTimeout as delay } from "node:timers/promises";
import { connect } from "nats";
import { INBOX_PREFIX } from "@vqd/shared/subjects.ts";
import { MICRO_SERVICE, statsResponseSchema } from "@vqd/shared/nats/micro.ts";
import type { LogLine } from "../../../infra/stack/log.ts";
import type { Stack } from "../../../infra/stack/stack.ts";
import { createPrediction, request } from "../../integration/support/client.ts";
import { Random } from "../random.ts";

const EVENT_LIMIT_MS = 60_000;
/** So long after a job has begun it may be canceled: by then it has made a step. */
const MIN_RUN_MS = 500;
/** Between two cancellations, at random. */
const PAUSE_MS = { least: 300, most: 900 };

export interface Cancellation {
  /** From the request: its answer, the worker's word that it has stopped, the next job's start in the freed slot; ms. */
  readonly answered: number;
  readonly stopped: number;
  readonly freed: number;
  /** The worker's mean time of a step then, ms. */
  readonly step: number;
}

type Happening = "started" | "canceled";

/** What the workers' logs say of jobs, as it comes. */
export class WorkerLog {
  /** When each running job began, as of performance.now(). */
  readonly running = new Map<string, number>();
  readonly #listeners = new Set<(what: Happening, id: string) => void>();

  readonly sink = ({ source, text }: LogLine): void => {
    if (!source.startsWith("worker")) return;
    const [, what, id = ""] = /^job (\w+).* prediction=(\w+)/.exec(text) ?? [];
    if (what === "started") this.running.set(id, performance.now());
    else this.running.delete(id);
    if (what === "started" || what === "canceled") for (const listener of this.#listeners) listener(what, id);
  };

  /** The moment, as of performance.now(), at which it happens to a job that `matches`. */
  next(what: Happening, matches: (id: string) => boolean): Promise<number> {
    return new Promise((resolve, reject) => {
      const listener = (happened: Happening, id: string): void => {
        if (happened !== what || !matches(id)) return;
        this.#listeners.delete(listener);
        clearTimeout(limit);
        resolve(performance.now());
      };
      const limit = setTimeout(() => {
        this.#listeners.delete(listener);
        reject(new Error(`no job ${what} within ${EVENT_LIMIT_MS} ms`));
      }, EVENT_LIMIT_MS);
      this.#listeners.add(listener);
    });
  }
}

/** Asks the one worker for its mean step time, as `vqd workers` does. */
async function stepClock(stack: Stack) {
  const nc = await connect({
    servers: stack.natsUrl,
    user: "monitor",
    pass: stack.passwords.monitor,
    inboxPrefix: INBOX_PREFIX.monitor,
  });
  return {
    async stepMs(): Promise<number> {
      const answer = await nc.request(`$SRV.STATS.${MICRO_SERVICE}`, undefined, { timeout: EVENT_LIMIT_MS });
      return statsResponseSchema.parse(answer.json()).endpoints[0]?.data.stepMs ?? Number.NaN;
    },
    [Symbol.asyncDispose]: () => nc.close(),
  };
}

/** Keeps `waiting` jobs behind the `slots` that run, and cancels one of those after the other. */
export async function measureCancellations(
  stack: Stack,
  log: WorkerLog,
  { count, slots, waiting, steps, seed }: Record<"count" | "slots" | "waiting" | "steps" | "seed", number>,
): Promise<Cancellation[]> {
  const random = new Random(seed);
  await using clock = await stepClock(stack);
  const create = async (): Promise<void> => {
    const input = { prompt: `grinning face ${random.below(2 ** 31)}`, num_inference_steps: steps };
    await createPrediction(stack, input);
  };
  for (let i = 0; i < slots + waiting; i++) await create();
  while (log.running.size < slots) await log.next("started", () => true);
  const measured: Cancellation[] = [];
  for (let i = 0; i < count; i++) {
    await delay(PAUSE_MS.least + random.uniform() * (PAUSE_MS.most - PAUSE_MS.least));
    const step = await clock.stepMs();
    const settled = [...log.running].filter(([, since]) => performance.now() - since > MIN_RUN_MS);
    const [id] = settled[random.below(settled.length)] ?? [];
    // All of them have just begun: a job has ended meanwhile.
    if (id === undefined) continue;
    const startedAt = performance.now();
    const stopped = log.next("canceled", (canceled) => canceled === id);
    // A job that ends by itself just then would free a slot too: such a round does not count.
    const others = [...log.running.keys()].filter((other) => other !== id);
    const freed = log.next("started", () => true);
    const answer = await request(stack, `/v1/predictions/${id}/cancel`, {});
    if (answer.status !== 200) throw new Error(`cancel answered ${answer.status}`);
    await answer.body?.cancel();
    const answered = performance.now() - startedAt;
    const [stoppedAt, freedAt] = await Promise.all([stopped, freed]);
    const isClean = others.every((other) => log.running.has(other));
    if (isClean) {
      measured.push({ answered, stopped: stoppedAt - startedAt, freed: freedAt - startedAt, step });
    }
    await create();
  }
  return measured;
}
