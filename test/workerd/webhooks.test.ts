// What the hub sends of a prediction's webhooks, when and in which order, to a receiver that answers when it is told to.

import { env } from "cloudflare:workers";
import { runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterEach, describe, expect, it, vi } from "vitest";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import { newRow } from "../../edge/hub/storage/prediction-row.ts";
import type { PredictionStore } from "../../edge/hub/storage/store.ts";
import type { WebhookEvent } from "../../edge/prediction/webhook-events.ts";
import type { Job } from "../../shared/job.ts";
import { hubs, newJob, newPrediction, outputEvent, type Said, stepEvent } from "./support.ts";
import { end, happen, inStoreOf } from "./stored.ts";

/** A hub of its own, whose predictions no worker is to see. */
const SHARD = 6;
const STEPS = 4;
const KEY_NAME = "test";

const hub = hubs.ofShard(SHARD);
const inStore = inStoreOf(SHARD);

/** Lets the hub send what is due. */
async function pump(): Promise<void> {
  await runInDurableObject(hub, (_, state) => state.storage.setAlarm(Date.now() + 60_000));
  await runDurableObjectAlarm(hub);
}

/** Two names of one receiver: two hosts; each at two ports. */
const at = (path: string, name = "127.0.0.1", port = env.RECEIVER_PORT): string =>
  `http://${name}:${port}${path}`;
const received = async (path: string): Promise<{ id: string; status: string }[]> =>
  (await (await fetch(at(path))).json<string[]>()).map((body) => JSON.parse(body) as never);
/** Answers what hangs at `path`. */
const answer = async (path: string, status: number): Promise<void> => {
  await fetch(at(`${path}?status=${status}`), { method: "DELETE" });
};

function insert(
  store: PredictionStore,
  url: string,
  events: readonly WebhookEvent[] = ["completed"],
  keyName = KEY_NAME,
): Job {
  const job = newJob(SHARD, STEPS);
  store.insert(newRow(job, { ...newPrediction(job, keyName), webhook: { url, events } }));
  return job;
}

afterEach(() => void vi.restoreAllMocks());

describe("a receiver that hangs", () => {
  it("is given less time each time", async () => {
    const limits: number[] = [];
    // The time is over at once.
    vi.spyOn(AbortSignal, "timeout").mockImplementation((ms) => {
      limits.push(ms);
      return AbortSignal.abort(new DOMException("too late", "TimeoutError"));
    });
    for (let sent = 1; sent <= 4; sent++) {
      const id = await inStore((store) => {
        const { id: ended } = insert(store, at("/hangs-again"), ["completed"], "hanging");
        end(store, ended);
        return ended;
      });
      await pump();
      await expect.poll(() => limits.length).toBe(sent);
      await inStore((store) => store.webhooks.disable(id));
    }
    expect(limits).toEqual([15_000, 5_000, 2_000, 2_000]);
  });

  it("delays nobody else, no matter how much waits for it", async () => {
    const ids = await inStore((store) => {
      const urls = [...Array.from({ length: 100 }, () => at("/held/many")), at("/quick", "localhost")];
      return urls.map((url) => {
        const { id } = insert(store, url);
        end(store, id);
        return id;
      });
    });
    await pump();
    await expect.poll(() => received("/held/many")).toHaveLength(4);
    await expect.poll(() => received("/quick")).toMatchObject([{ id: ids.at(-1) }]);
    expect(await received("/held/many")).toHaveLength(4);
    await inStore((store) => {
      for (const id of ids) store.webhooks.disable(id);
    });
    await answer("/held/many", 410);
  });
});

describe("an owner whose webhooks hang", () => {
  it("delays no other owner's, not even at the same host and whatever its ports", async () => {
    const [own, other] = await inStore((store) => {
      const ended = (url: string, keyName: string): string => {
        const { id } = insert(store, url, ["completed"], keyName);
        end(store, id);
        return id;
      };
      const ports = [env.RECEIVER_PORT, env.SECOND_RECEIVER_PORT];
      const held = Array.from({ length: 100 }, (_, i) =>
        ended(at("/held/greedy", "127.0.0.1", ports[i % 2]), "greedy"),
      );
      return [held, ended(at("/modest"), "modest")];
    });
    await pump();
    await expect.poll(() => received("/modest")).toMatchObject([{ id: other }]);
    await expect.poll(() => received("/held/greedy")).toHaveLength(4);
    await inStore((store) => {
      for (const id of own) store.webhooks.disable(id);
    });
    await answer("/held/greedy", 410);
  });
});

describe("an owner with very many receivers", () => {
  it("has half of what is sent at once, when all of them hang", async () => {
    const hosts: string[] = [];
    const { promise: over, resolve: stop } = Promise.withResolvers<Response>();
    // So many hosts cannot be had here: nothing leaves the hub.
    vi.spyOn(globalThis, "fetch").mockImplementation(async (url) => {
      hosts.push(new URL(url as string).hostname);
      return (await over).clone();
    });
    const ids = await inStore((store) => {
      const ended = (host: string, keyName: string): string => {
        const { id } = insert(store, `https://${host}/hook`, ["completed"], keyName);
        end(store, id);
        return id;
      };
      const own = Array.from({ length: 40 }, (_, i) => ended(`${i}.example.com`, "greedy"));
      return [...own, ended("modest.example.org", "modest")];
    });
    await pump();
    await expect.poll(() => hosts).toContain("modest.example.org");
    expect(hosts.filter((host) => host.endsWith(".example.com"))).toHaveLength(16);
    await inStore((store) => {
      for (const id of ids) store.webhooks.disable(id);
    });
    stop(new Response(null, { status: 204 }));
  });
});

describe("the completed webhook", () => {
  const ALL = ["start", "output", "logs", "completed"] as const;
  const start: [Said] = [{ type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: STEPS }];
  const events = (id: string): Promise<string[]> =>
    inStore((store) => store.webhooks.of(id).map(({ event }) => event));

  it("comes last and only once, whatever is pending", async () => {
    const { id } = await inStore((store) => {
      const job = insert(store, at("/held/last"), ALL);
      happen(store, job.id, start);
      return job;
    });
    await pump();
    await expect.poll(() => received("/held/last")).toMatchObject([{ status: "processing" }]);
    await inStore((store) => {
      happen(store, id, stepEvent(1, STEPS));
      happen(store, id, outputEvent(0));
      end(store, id);
    });
    await answer("/held/last", 204);
    await expect
      .poll(() => received("/held/last"))
      .toMatchObject([{ status: "processing" }, { status: "canceled" }]);
    await answer("/held/last", 204);
    const log = (): Promise<object[]> =>
      inStore((store) => store.webhooks.of(id).map(({ event, state, nextAt }) => ({ event, state, nextAt })));
    await expect.poll(log).toEqual([
      { event: "start", state: "delivered", nextAt: null },
      { event: "completed", state: "delivered", nextAt: null },
    ]);
  });

  it("is not followed by what was being sent when the hub died", async () => {
    const left = await inStore((store) => {
      const { id } = insert(store, at("/died"), ALL);
      happen(store, id, start);
      const now = Date.now();
      const [delivery] = store.webhooks.of(id);
      store.webhooks.claim(delivery?.id ?? "", "{}", { now, leaseUntil: now + 30_000 });
      end(store, id);
      const due = store.webhooks.of(id).filter(({ nextAt }) => nextAt !== null);
      store.webhooks.disable(id);
      return due;
    });
    expect(left).toMatchObject([{ event: "completed" }]);
  });

  it("does not suppress other events where it was not requested", async () => {
    const { id } = await inStore((store) => {
      const job = insert(store, at("/held/without"), ["start", "output"]);
      happen(store, job.id, start);
      happen(store, job.id, outputEvent(0));
      end(store, job.id);
      store.webhooks.disable(job.id);
      return job;
    });
    expect(await events(id)).toEqual(["start", "output"]);
  });
});

describe("webhooks of one kind", () => {
  it("are 500 ms apart, counted from the previous attempt", async () => {
    const dueAfter = await inStore((store) => {
      const { id } = insert(store, at("/apart"), ["output"]);
      const t = Date.now();
      /** Queues one, sends it `late` after it is due; gives when it was due. */
      const next = (queuedAfter: number, late: number): number => {
        store.webhooks.queue(id, "output", t + queuedAfter);
        const last = store.webhooks.of(id).at(-1);
        if (last === undefined || last.nextAt === null) throw new Error("nothing is queued");
        const now = last.nextAt + late;
        store.webhooks.claim(last.id, "{}", { now, leaseUntil: now + 30_000 });
        store.webhooks.settle(last.id, "delivered");
        return last.nextAt - t;
      };
      return [next(0, 0), next(10, 0), next(510, 200), next(1_300, 0), next(9_000, 0)];
    });
    expect(dueAfter).toEqual([0, 500, 1_000, 1_700, 9_000]);
  });
});

describe("a redelivery", () => {
  it.each([204, 500])("requested while an attempt is in progress follows one answered %d", async (status) => {
    const path = `/held/again-${status}`;
    const { id } = await inStore((store) => {
      const job = insert(store, at(path));
      end(store, job.id);
      return job;
    });
    const ending = () => inStore((store) => store.webhooks.of(id)[0]);
    await pump();
    await expect.poll(() => received(path)).toHaveLength(1);
    unwrap(await hub.redeliverWebhook(id, KEY_NAME));
    await answer(path, status);
    await expect.poll(() => received(path)).toHaveLength(2);
    expect(await ending()).toMatchObject({ state: "pending", tries: 0 });
    await answer(path, 204);
    await expect.poll(ending).toMatchObject({ state: "delivered" });
    const { deliveries } = unwrap(await hub.webhookLog(id, KEY_NAME));
    expect(deliveries[0]?.attempts).toMatchObject([{ status }, { status: 204 }]);
  });
});
