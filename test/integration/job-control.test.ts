// Jobs whose worker cannot reach all of NATS, on a real nats-server: what it still hears of them.

import { readFile, writeFile } from "node:fs/promises";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect } from "nats";
import { createLogger } from "@vqd/shared/log.ts";
import { controlSubject, eventSubject, INBOX_PREFIX, stateSubject, STREAMS } from "@vqd/shared/subjects.ts";
import { afterEach, beforeEach, expect, it } from "vitest";
import type { Broker } from "../../gpu-worker/nats/broker.ts";
import type { JobConsumer } from "../../gpu-worker/jobs/consumer.ts";
import type { HostedModel, ModelHost } from "../../gpu-worker/serving/model-host.ts";
import type { UserName } from "../../infra/nats/config.ts";
import { makeConsumer, jobOf, openTinyModel, TestEdge } from "./support/jobs.ts";
import { connectWorker, startTestNats, type TestNats, TINY_KEY } from "./support/nats.ts";

const WAIT_MS = 20_000;

/** The part of the server's configuration that says what users may hear. */
interface NatsConfig {
  accounts: Record<string, { users: { user: string; permissions: { subscribe: { allow: string[] } } }[] }>;
}

let nats: TestNats;
let edge: TestEdge;
let broker: Broker;
let models: ModelHost;
let lines: string[];
const closing: (() => Promise<void>)[] = [];

beforeEach(async () => {
  lines = [];
  [nats, models] = await Promise.all([startTestNats(), openTinyModel()]);
  closing.push(
    () => nats.stop(),
    () => models.close(),
  );
});
afterEach(async () => {
  for (const close of closing.splice(0).toReversed()) await close();
});

function model(): HostedModel {
  const [only] = models.models;
  if (only === undefined) throw new Error("no model");
  return only;
}

async function connectBoth(): Promise<void> {
  // The worker first: it waits for a server that is not back yet.
  broker = await connectWorker(nats);
  closing.push(() => broker.close());
  edge = await TestEdge.connect(nats);
  closing.push(() => edge.close());
}

interface Serving {
  readonly consumer: JobConsumer;
  readonly stop: () => Promise<void>;
}

function serve(): Serving {
  const log = createLogger((line) => lines.push((JSON.parse(line) as { msg: string }).msg), "info");
  const consumer = makeConsumer(broker, models, log);
  const run = consumer.run();
  return {
    consumer,
    stop: () => {
      consumer.drain();
      return run;
    },
  };
}

/** Has the server refuse what a stream is sent, or take it again. */
async function refuse(stream: string, isRefused: boolean): Promise<void> {
  const { url: servers, passwords } = nats;
  const inboxPrefix = INBOX_PREFIX.operator;
  const nc = await connect({ servers, user: "operator", pass: passwords.operator, inboxPrefix });
  try {
    const { streams } = await jetstreamManager(nc);
    await streams.update(stream, { max_msg_size: isRefused ? 1 : -1 });
  } finally {
    await nc.close();
  }
}

/** Sends a job that a worker cannot claim, and waits until it has tried: by its state, or by its first batch. */
async function sendInVain(msToDeadline: number, stream: string = STREAMS.state): Promise<string> {
  await refuse(stream, true);
  const job = jobOf(model(), { deadlineAt: Date.now() + msToDeadline });
  const isBatched = stream === STREAMS.events;
  const { key } = model();
  const subject = isBatched ? eventSubject(job.shard, key, job.id) : stateSubject(key, job.id);
  const claims = edge.nc.subscribe(subject, { max: 1, timeout: WAIT_MS });
  await edge.send(job, key, undefined, isBatched);
  const claim = await claims[Symbol.asyncIterator]().next();
  expect(claim.done).toBe(false);
  return job.id;
}

it.each([
  ["canceled", 60_000],
  ["failed: deadline_exceeded", 3_000],
])("ends a job that cannot be claimed: %s", async (end, msToDeadline) => {
  await changeHearing("edge", (allowed) => [...allowed, stateSubject("*", "*")]);
  await connectBoth();
  const serving = serve();
  const id = await sendInVain(msToDeadline);
  if (end === "canceled") edge.nc.publish(controlSubject(model().key, id));
  expect(await edge.endOf(id)).toBe(end);
  // Only when its state is stored is it known to be this worker's, and acknowledged.
  expect(serving.consumer.jobs).toBe(1);
  await refuse(STREAMS.state, false);
  await expect.poll(() => serving.consumer.jobs, { timeout: WAIT_MS }).toBe(0);
  await serving.stop();
});

it("hands a job back that cannot be claimed when told to stop", async () => {
  await changeHearing("edge", (allowed) => [...allowed, stateSubject("*", "*")]);
  await connectBoth();
  const first = serve();
  const id = await sendInVain(60_000);
  await first.stop();
  expect(lines).toContain("job handed back");
  await refuse(STREAMS.state, false);
  const second = serve();
  expect(await edge.endOf(id)).toBe("succeeded");
  await second.stop();
});

it("ends a canceled job whose batches are not taken once they are", async () => {
  await changeHearing("edge", (allowed) => [...allowed, "vqd.events.>"]);
  await connectBoth();
  const serving = serve();
  const id = await sendInVain(60_000, STREAMS.events);
  edge.nc.publish(controlSubject(model().key, id));
  await edge.nc.flush();
  await expect.poll(() => lines, { timeout: WAIT_MS }).toContain("job canceled");
  expect(serving.consumer.jobs).toBe(1);
  await refuse(STREAMS.events, false);
  expect(await edge.endOf(id)).toBe("canceled");
  await expect.poll(() => serving.consumer.jobs, { timeout: WAIT_MS }).toBe(0);
  await serving.stop();
});

it("runs jobs although it may not hear of cancellations", async () => {
  await changeHearing("worker", (allowed) =>
    allowed.filter((subject) => subject !== controlSubject(TINY_KEY, "*")),
  );
  await connectBoth();
  const { stop } = serve();
  const job = jobOf(model());
  await edge.send(job, model().key);
  expect(await edge.endOf(job.id)).toBe("succeeded");
  expect(lines).toContain("cannot subscribe to cancellations");
  await stop();
});

/** Changes what a user may hear, and starts the server anew. */
async function changeHearing(of: UserName, change: (allowed: string[]) => string[]): Promise<void> {
  const config = JSON.parse(await readFile(nats.configPath, "utf8")) as NatsConfig;
  const users = Object.values(config.accounts).flatMap((account) => account.users);
  const found = users.find(({ user }) => user === of);
  if (found === undefined) throw new Error(`no user ${of}`);
  const { subscribe } = found.permissions;
  subscribe.allow = change(subscribe.allow);
  await writeFile(nats.configPath, JSON.stringify(config));
  await nats.server.kill("SIGKILL");
}
