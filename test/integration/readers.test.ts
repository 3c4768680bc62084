// Many readers of one prediction at once: quick, slow, disconnecting and coming back. Those that stay see all, once.

import type { EventSourceMessage } from "eventsource-parser";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrediction, getPrediction, readEvents, stepNumbers, upTo } from "./support/client.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const STEPS = 60;
const OF_EACH_KIND = 10;

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({ workers: 1, model: TINY_MODEL });
});
afterAll(() => test.stop());

type Reader = (id: string) => Promise<EventSourceMessage[]>;

/** Reads on from what it has `seen`, until there are `count` events or no more come. */
async function readOn(id: string, seen: EventSourceMessage[], count = Infinity): Promise<void> {
  const leaving = new AbortController();
  const lastEventId = seen.at(-1)?.id ?? "0";
  try {
    for await (const event of readEvents(test, id, { lastEventId, signal: leaving.signal })) {
      seen.push(event);
      if (seen.length >= count) break;
    }
  } finally {
    leaving.abort();
  }
}

const quick: Reader = async (id) => {
  const seen: EventSourceMessage[] = [];
  await readOn(id, seen);
  return seen;
};

/** Comes back after each few events. */
const resuming: Reader = async (id) => {
  const seen: EventSourceMessage[] = [];
  while (seen.at(-1)?.event !== "done") await readOn(id, seen, seen.length + 25);
  return seen;
};

const leaving: Reader = async (id) => {
  const seen: EventSourceMessage[] = [];
  await readOn(id, seen, 5);
  return seen;
};

/** Opens the stream, and does not read it until the prediction has ended. */
const slow =
  (ended: Promise<unknown>): Reader =>
  async (id) => {
    const seen: EventSourceMessage[] = [];
    for await (const event of readEvents(test, id)) {
      if (seen.length === 0) await ended;
      seen.push(event);
    }
    return seen;
  };

it("all who stay see every event once, whatever the others do", async () => {
  const { id } = await createPrediction(test, { prompt: "a", num_inference_steps: STEPS, num_outputs: 4 });
  const ended = Promise.withResolvers<void>();
  const kinds: Record<string, Reader> = { quick, resuming, leaving, slow: slow(ended.promise) };
  const readers = Object.entries(kinds).flatMap(([kind, read]) =>
    Array.from({ length: OF_EACH_KIND }, async () => ({ kind, seen: await read(id) })),
  );
  // A slow one must not keep it from ending.
  await expect
    .poll(async () => (await getPrediction(test, id)).status, { timeout: 60_000 })
    .toBe("succeeded");
  ended.resolve();
  for (const { kind, seen } of await Promise.all(readers)) {
    const ids = seen.map((event) => Number(event.id));
    expect(ids, kind).toEqual(upTo(seen.length));
    if (kind === "leaving") continue;
    expect(stepNumbers(seen), kind).toEqual(upTo(STEPS));
    expect(seen.at(-1)?.event, kind).toBe("done");
  }
});
