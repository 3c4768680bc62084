// What a neighbour does to a hub, each for as long as its signal allows.

import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { type ApiClient, request } from "../../integration/support/client.ts";

/** What an attacker has. */
export interface Means {
  readonly client: ApiClient;
  /** URLs of receivers that never respond, and of one that does. */
  readonly hanging: readonly string[];
  readonly receiver: string;
}

export interface Attack {
  readonly name: string;
  /** Resolves once the attack is in full swing, with a function that stops it and waits for its end. */
  readonly start: (means: Means) => Promise<() => Promise<void>>;
}

/** Between the requests of one loop: an attacker that is refused still asks some 40 times a second. */
const PAUSE_MS = 25;
/** An attack is in full swing once the limits refuse some of it, or after this: some stay within them. */
const SETTLE_MS = 5_000;
/** Each character takes six bytes in JSON. */
const LONG_PROMPTS = Array.from({ length: 10 }, () => "\u0001".repeat(3_999) + "a");
const LARGE = { prompt: "a", num_outputs: 10, num_inference_steps: 100 };
const SMALL = { prompt: "a", num_inference_steps: 5, prompt_too_long: "truncate" };

const refused = Promise.withResolvers<void>();

async function ask(...args: Parameters<typeof request>): Promise<Response> {
  const response = await request(...args);
  if (!response.ok) refused.resolve();
  return response;
}

type Turn = (client: ApiClient, signal: AbortSignal, means: Means) => Promise<void>;

/** Runs `turn` over and over, in several loops. `before` prepares, and may give what the loops need. */
function looping(loops: number, turn: Turn, before?: Turn): Attack["start"] {
  return async (means) => {
    const { client } = means;
    const stopping = new AbortController();
    const { signal } = stopping;
    await before?.(client, signal, means);
    const loop = async (): Promise<void> => {
      while (!signal.aborted) {
        try {
          await turn(client, signal, means);
          await delay(PAUSE_MS, undefined, { signal });
        } catch {
          // Refused, or stopped.
          await delay(PAUSE_MS);
        }
      }
    };
    const running = Array.from({ length: loops }, loop);
    await Promise.race([refused.promise, delay(SETTLE_MS)]);
    return async () => {
      stopping.abort();
      await Promise.all(running);
      await cancelAll(client);
    };
  };
}

/** So that the next measurement begins with an empty queue. */
async function cancelAll(client: ApiClient): Promise<void> {
  for (let path: string | null = "/v1/predictions"; path !== null;) {
    const response = await ask(client, path);
    if (!response.ok) return;
    const { results, next } = (await response.json()) as {
      results: { id: string; status: string }[];
      next: string | null;
    };
    for (const { id, status } of results) {
      if (status === "starting" || status === "processing") {
        await (await ask(client, `/v1/predictions/${id}/cancel`, {})).text();
      }
    }
    path = next;
  }
}

async function create(
  client: ApiClient,
  body: object,
  headers: Record<string, string> = {},
  signal?: AbortSignal,
): Promise<string | undefined> {
  const init = { headers, ...(signal === undefined ? {} : { signal }) };
  const response = await ask(client, "/v1/predictions", body, init);
  const text = await response.text();
  return response.ok ? (JSON.parse(text) as { id: string }).id : undefined;
}

async function createAndCancel(client: ApiClient, body: object): Promise<string | undefined> {
  const id = await create(client, body);
  if (id !== undefined) await (await ask(client, `/v1/predictions/${id}/cancel`, {})).text();
  return id;
}

const hook = (url: string) => ({ webhook: url, webhook_events_filter: ["completed"] });
const ids = new WeakMap<AbortSignal, string>();

export const ATTACKS: readonly Attack[] = [
  {
    name: "predictions of ten images of 100 steps, one after another",
    start: looping(1, async (client, signal) => {
      await create(client, { input: LARGE }, { prefer: "wait=60" }, signal);
    }),
  },
  {
    name: "as many of them at once as are admitted",
    start: looping(4, async (client, signal) => {
      await create(client, { input: LARGE }, {}, signal);
    }),
  },
  {
    name: "single images, as many as are admitted",
    start: looping(8, async (client, signal) => {
      await create(client, { input: SMALL }, {}, signal);
    }),
  },
  {
    name: "webhooks to four ports that hang",
    start: looping(
      1,
      async (client, _, { hanging }) => {
        await createAndCancel(client, { input: SMALL, ...hook(hanging[0] ?? "") });
      },
      async (client, _, { hanging }) => {
        for (let i = 0; i < 48; i++) {
          await createAndCancel(client, { input: SMALL, ...hook(hanging[i % hanging.length] ?? "") });
        }
      },
    ),
  },
  {
    name: "redeliveries of a large webhook",
    start: looping(
      4,
      async (client, signal) => {
        const path = `/v1/predictions/${ids.get(signal) ?? ""}/webhook-attempts/redeliver`;
        await (await ask(client, path, {}, { signal })).text();
      },
      async (client, signal, { receiver }) => {
        const input = { ...SMALL, prompt: LONG_PROMPTS };
        ids.set(signal, (await createAndCancel(client, { input, ...hook(receiver) })) ?? "");
      },
    ),
  },
  {
    name: "predictions with 40,000 control characters, created and canceled",
    start: looping(4, async (client) => {
      await createAndCancel(client, { input: { ...SMALL, prompt: LONG_PROMPTS } });
    }),
  },
  {
    name: "20 lists at a time of predictions with long prompts",
    start: looping(
      20,
      async (client, signal) => {
        await (await ask(client, "/v1/predictions", undefined, { signal })).text();
      },
      async (client) => {
        for (let i = 0; i < 20; i++)
          await createAndCancel(client, { input: { ...SMALL, prompt: LONG_PROMPTS } });
      },
    ),
  },
  {
    name: "300 image streams with one idempotency key",
    start: looping(300, async (client, signal) => {
      const body = { prompt: "a", n: 10, num_inference_steps: 100, stream: true };
      const key = ids.get(signal) ?? randomUUID();
      ids.set(signal, key);
      const init = { headers: { "idempotency-key": key }, signal };
      await (await ask(client, "/v1/images/generations", body, init)).text();
    }),
  },
  {
    // What it costs that somebody sends requests at all: none of them gets as far as its owner's limits.
    name: "a stranger's requests, eight at a time",
    start: looping(8, async ({ url }, signal) => {
      await (await ask({ url, apiKey: "unknown" }, "/v1/predictions", undefined, { signal })).text();
    }),
  },
];
