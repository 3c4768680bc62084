// Taking jobs from a real nats-server: by priority, without loss, and over its restart.

import {
  AckPolicy,
  DeliverPolicy,
  jetstream,
  type JetStreamManager,
  jetstreamManager,
} from "@nats-io/jetstream";
import { connect, nanos, type NatsConnection } from "nats";
import { createLogger } from "@vqd/shared/log.ts";
import {
  jobConsumer,
  jobFilter,
  jobSubject,
  PRIORITIES,
  type Priority,
  STREAMS,
} from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import type { Broker } from "../../gpu-worker/nats/broker.ts";
import { JobQueue, type QueuedJob } from "../../gpu-worker/nats/job-queue.ts";
import { executeQueuePlan, planQueues } from "../../gpu-worker/ops/queues.ts";
import { connectWorker, startTestNats, type TestNats } from "./support/nats.ts";

const KEY = "vqd--queue--0123456789ab";
const RETIRED = "vqd--queue--ba9876543210";
const LEASE_MS = 30_000;
const PLAN = { models: [KEY], leaseMs: LEASE_MS };

let nats: TestNats;
let edge: NatsConnection;
let broker: Broker;
const queues: JobQueue[] = [];
const stop = new AbortController();

beforeAll(async () => {
  nats = await startTestNats({ models: [KEY, RETIRED] });
  const { url: servers, passwords } = nats;
  edge = await connect({ servers, user: "edge", pass: passwords.edge, inboxPrefix: "_INBOX_edge" });
  broker = await connectWorker(nats);
});
afterAll(async () => {
  stop.abort();
  for (const queue of queues) queue.close();
  await edge.close();
  await broker.close();
  await nats.stop();
});

beforeEach(async () => {
  await asOperator((nc) => jetstreamManager(nc).then((jsm) => jsm.streams.purge(STREAMS.jobs)));
});

const log = createLogger(() => {}, "error");

async function asOperator<T>(work: (nc: NatsConnection) => Promise<T>): Promise<T> {
  const { url: servers, passwords } = nats;
  const nc = await connect({
    servers,
    user: "operator",
    pass: passwords.operator,
    inboxPrefix: "_INBOX_operator",
  });
  try {
    return await work(nc);
  } finally {
    await nc.close();
  }
}

function makeQueue(hasRoom: () => boolean = () => true, of = broker, keys = [KEY]): JobQueue {
  const queue = new JobQueue({
    broker: of,
    modelKeys: keys,
    hasRoom,
    isLoaded: () => true,
    log,
  });
  queues.push(queue);
  return queue;
}

const publish = (priority: Priority, text: string): Promise<unknown> =>
  jetstream(edge, { checkAPI: false }).publish(jobSubject(KEY, priority), text);

async function take(queue: JobQueue): Promise<string> {
  const queued = await queue.next(stop.signal);
  return done(queued);
}

async function done(queued: QueuedJob | undefined): Promise<string> {
  if (queued === undefined) throw new Error("stopped");
  expect(await queued.delivery.ack()).toBe(true);
  return new TextDecoder().decode(queued.delivery.data);
}

async function reconnect(nc: NatsConnection): Promise<void> {
  for await (const { type } of nc.status()) if (type === "reconnect") return;
}

describe("queues", () => {
  const planned = (jsm: JetStreamManager): Promise<string[]> =>
    planQueues(jsm, PLAN).then((plan) => plan.map(({ action, name }) => `${action} ${name}`));
  const NAMES = ["", "--high", "--low"].map((suffix) => `workers-${KEY}${suffix}`);

  it("of an earlier release are brought up to date, and say how long a lease is", async () => {
    await asOperator(async (nc) => {
      const jsm = await jetstreamManager(nc);
      for (const name of NAMES) await jsm.consumers.delete(STREAMS.jobs, name);
      await jsm.consumers.add(STREAMS.jobs, {
        durable_name: jobConsumer(KEY, "normal"),
        filter_subject: jobFilter(KEY),
        ack_policy: AckPolicy.Explicit,
        deliver_policy: DeliverPolicy.All,
        ack_wait: nanos(1_000),
      });
      await expect(broker.leaseOf(KEY)).rejects.toThrow(/vqd streams apply --model vqd--queue--0123456789ab/);
      expect(await planned(jsm)).toEqual([`update ${NAMES[0]}`, `create ${NAMES[1]}`, `create ${NAMES[2]}`]);
      await executeQueuePlan(jsm, await planQueues(jsm, PLAN));
      expect(await planned(jsm)).toEqual(NAMES.map((name) => `keep ${name}`));
    });
    expect(await broker.leaseOf(KEY)).toBe(LEASE_MS);
    await publish("low", "kept");
    await expect(take(makeQueue())).resolves.toBe("kept");
  });

  it("that send jobs to where nobody has asked for them are deleted", async () => {
    await asOperator(async (nc) => {
      const jsm = await jetstreamManager(nc);
      await jsm.consumers.add(STREAMS.jobs, {
        durable_name: "thief",
        filter_subject: "vqd.jobs.another--model--0123456789ab.normal",
        deliver_subject: "vqd.models.mine",
        ack_policy: AckPolicy.Explicit,
      });
      expect(await planned(jsm)).toEqual(["delete thief", ...NAMES.map((name) => `keep ${name}`)]);
      await executeQueuePlan(jsm, await planQueues(jsm, PLAN));
      expect(await planned(jsm)).toEqual(NAMES.map((name) => `keep ${name}`));
    });
  });
});

it("takes the urgent first, and nobody's turn for ever", async () => {
  for (const priority of ["low", "normal", "high"] as const) {
    for (let i = 1; i <= 5; i++) await publish(priority, `${priority} ${i}`);
  }
  const queue = makeQueue();
  const taken: string[] = [];
  for (let i = 0; i < 15; i++) taken.push(await take(queue));
  expect(taken.filter((one) => one.startsWith("high"))).toEqual([1, 2, 3, 4, 5].map((i) => `high ${i}`));
  // The fourth is a normal one's turn.
  expect(taken.slice(0, 6)).toEqual(["high 1", "high 2", "high 3", "normal 1", "high 4", "high 5"]);
  expect(new Set(taken).size).toBe(15);
});

it("takes what comes while it waits, and lets others have what it has no room for", async () => {
  let room = true;
  const queue = makeQueue(() => room);
  const waiting = queue.next(stop.signal);
  const other = await connectWorker(nats);
  try {
    await publish("low", "first");
    await expect(done(await waiting)).resolves.toBe("first");
    // Requests to the queues of the other priorities still wait.
    room = false;
    const elsewhere = makeQueue(() => true, other);
    const takeAll = async (): Promise<string[]> => {
      const taken: string[] = [];
      while (taken.length < 3) taken.push(await take(elsewhere));
      return taken;
    };
    const [all] = await Promise.all([
      takeAll(),
      ...(["high", "normal", "low"] as const).map((priority) => publish(priority, priority)),
    ]);
    expect(all.toSorted()).toEqual(["high", "low", "normal"]);
  } finally {
    await other.close();
  }
});

it("takes other models' jobs while a version's queues are gone, and says so when there are no more", async () => {
  await asOperator(async (nc) => {
    const jsm = await jetstreamManager(nc);
    for (const priority of PRIORITIES)
      await jsm.consumers.delete(STREAMS.jobs, jobConsumer(RETIRED, priority));
  });
  const queue = makeQueue(() => true, broker, [RETIRED, KEY]);
  await publish("low", "a");
  await publish("low", "b");
  expect(await take(queue)).toBe("a");
  expect(await take(queue)).toBe("b");
  await expect(queue.next(stop.signal)).rejects.toThrow(`${jobConsumer(RETIRED, "high")} does not exist`);
});

it("hands back with a delay, and counts deliveries", async () => {
  const queue = makeQueue();
  await publish("normal", "again");
  const first = await queue.next(stop.signal);
  expect(first?.delivery.count).toBe(1);
  first?.delivery.nak(50);
  // Settled is settled.
  expect(await first?.delivery.ack()).toBe(false);
  const second = await queue.next(stop.signal);
  expect(second?.delivery).toMatchObject({ count: 2, sequence: first?.delivery.sequence });
  second?.delivery.term();
  await publish("normal", "next");
  await expect(take(queue)).resolves.toBe("next");
});

it("ends waiting when it is told to stop", async () => {
  const abort = new AbortController();
  const next = makeQueue().next(abort.signal);
  abort.abort();
  await expect(next).resolves.toBeUndefined();
});

it("goes on after the server was killed while it waited", async () => {
  const queue = makeQueue();
  const waiting = queue.next(stop.signal);
  await Promise.race([waiting, broker.nc.flush()]);
  const reconnected = Promise.all([edge, broker.nc].map((nc) => reconnect(nc)));
  await nats.server.kill("SIGKILL");
  await reconnected;
  await publish("normal", "after");
  await expect(done(await waiting)).resolves.toBe("after");
});
