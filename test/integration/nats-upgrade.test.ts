// A NATS of 0.1.0, whose credentials and subjects named no model, brought up to this release: what ran goes on, hubs and
// workers of both releases understand each other, and at the end the old credentials are refused.

import { copyFileSync, mkdirSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { jetstream, type JetStreamManager, jetstreamManager } from "@nats-io/jetstream";
import { createAccount, createOperator, createUser, fromSeed, type KeyPair } from "@nats-io/nkeys";
import { connect, headers, nanos, type NatsConnection } from "nats";
import { decodeState, encodeJob, encodeState } from "@vqd/shared/codec.ts";
import { MESSAGE_HEADERS, SCOPED } from "@vqd/shared/headers.ts";
import type { Job } from "@vqd/shared/job.ts";
import { createLogger } from "@vqd/shared/log.ts";
import {
  controlSubject,
  eventSubject,
  jobConsumer,
  jobSubject,
  stateSubject,
  STREAMS,
  UNSCOPED,
} from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readConfig } from "../../gpu-worker/config.ts";
import { Broker } from "../../gpu-worker/nats/broker.ts";
import type { HostedModel, ModelHost } from "../../gpu-worker/serving/model-host.ts";
import { createCa } from "../../infra/nats/cluster/certificates.ts";
import { credentials, userJwt } from "../../infra/nats/cluster/jwt.ts";
import { applyStreams } from "../../infra/nats/streams.ts";
import { TestCluster } from "./support/cluster.ts";
import { jobOf, makeConsumer, openTinyModel } from "./support/jobs.ts";
import { TINY_KEY } from "./support/nats.ts";

const FINISH = { timeout: 30_000 };
const LEASE_MS = 5_000;

let cluster: TestCluster;
let models: ModelHost;
let model: HostedModel;
let jsm: JetStreamManager;
const closing: (() => Promise<unknown>)[] = [];

const secret = (pair: KeyPair): string => Buffer.from(pair.getSeed()).toString();

/** A folder of 0.1.0, with the credentials that it issued: all of them users of one account. */
async function writeOldFolder(dir: string): Promise<void> {
  const account = createAccount();
  const names = ["edge", "worker", "monitor", "operator", "leaf"];
  const roles = Object.fromEntries(names.map((role) => [role, secret(createAccount())]));
  const keys = {
    createdAt: Math.floor(Date.now() / 1_000),
    operator: secret(createOperator()),
    systemAccount: secret(createAccount()),
    account: secret(account),
    roles,
    revocations: {},
  };
  mkdirSync(join(dir, "operator"), { recursive: true });
  const ca = await createCa("vqd NATS");
  writeFileSync(join(dir, "operator", "ca.pem"), ca.certificate);
  writeFileSync(join(dir, "operator", "ca-key.pem"), ca.key);
  mkdirSync(join(dir, "creds"));
  writeFileSync(join(dir, "operator", "keys.json"), JSON.stringify(keys));
  for (const role of names) {
    const user = createUser();
    const jwt = userJwt(fromSeed(Buffer.from(roles[role] ?? "")), {
      name: role,
      user: user.getPublicKey(),
      account: account.getPublicKey(),
    });
    writeFileSync(join(dir, "creds", `${role}.creds`), credentials(jwt, secret(user)));
  }
}

beforeAll(async () => {
  cluster = await TestCluster.start({
    servers: 1,
    models: { scoped: [TINY_KEY] },
    prepare: async (dir) => {
      await writeOldFolder(dir);
      copyFileSync(join(dir, "creds", "monitor.creds"), join(dir, "creds", "old-monitor.creds"));
    },
  });
  models = await openTinyModel();
  [model] = models.models as [HostedModel];
  jsm = await jetstreamManager(await opened("operator", "operator"), { checkAPI: false });
});
afterAll(async () => {
  for (const close of closing.toReversed()) await close();
  await models.close();
  await cluster.stop();
});

async function opened(role: "edge" | "worker" | "operator", credentialsOf: string): Promise<NatsConnection> {
  const connection = await cluster.connectAs(role, { credentials: credentialsOf });
  closing.push(() => connection.close());
  return connection;
}

async function brokerWith(credentialsOf: string): Promise<Broker> {
  const { nats } = readConfig({
    VQD_NATS_URL: cluster.urls.join(","),
    VQD_NATS_CREDS: cluster.files.credentialsPath(credentialsOf),
    VQD_NATS_CA: cluster.caFile,
  });
  const log = createLogger(() => {}, "error");
  const broker = await Broker.connect({ nats, name: "test", log, onRefused: () => {} });
  closing.push(() => broker.close());
  return broker;
}

/** Sends a job as a hub of this release does, or as one of 0.1.0. */
async function send(edge: NatsConnection, job: Job, release: "this" | "0.1.0"): Promise<void> {
  const said = headers();
  if (release === "this") said.set(MESSAGE_HEADERS.subjects, SCOPED);
  await jetstream(edge).publish(jobSubject(TINY_KEY, "normal"), encodeJob(job), { headers: said });
}

/** Under which subjects there are messages about a prediction. */
async function subjectsOf({ id }: Job, stream: string): Promise<string[]> {
  const { state } = await jsm.streams.info(stream, { subjects_filter: ">" });
  return Object.keys(state.subjects ?? {}).filter((subject) => subject.endsWith(id));
}

const hasEnded = async ({ id }: Job): Promise<boolean> => {
  for (const subject of [eventSubject(0, TINY_KEY, id), UNSCOPED.eventSubject(0, id)]) {
    const last = await jsm.streams.getMessage(STREAMS.events, { last_by_subj: subject }).catch(() => null);
    if (last?.string().includes('"succeeded"') === true) return true;
  }
  return false;
};

async function serve<T>(broker: Broker, work: () => Promise<T>): Promise<T> {
  const consumer = makeConsumer(broker, models);
  const run = consumer.run();
  try {
    return await work();
  } finally {
    consumer.drain();
    await run;
  }
}

it("keeps what the streams of 0.1.0 hold", async () => {
  const nc = await opened("worker", "worker");
  await jsm.streams.delete(STREAMS.events);
  await jsm.streams.delete(STREAMS.state);
  await jsm.streams.delete(STREAMS.models);
  const hour = nanos(3_600_000);
  await jsm.streams.add({ name: STREAMS.events, subjects: ["vqd.events.*.*"], max_age: hour });
  const newest = { max_msgs_per_subject: 1, allow_direct: true };
  await jsm.streams.add({ name: STREAMS.state, subjects: ["vqd.state.*"], max_age: hour, ...newest });
  await jsm.streams.add({ name: STREAMS.models, subjects: ["vqd.models.*"], ...newest });
  const kept = ["vqd.events.0.x", "vqd.state.x", "vqd.models.x"];
  for (const subject of kept) await jetstream(nc).publish(subject, "kept");
  await applyStreams(cluster.clientOptions("operator"), { models: [TINY_KEY], leaseMs: LEASE_MS });
  for (const [stream, subject] of [STREAMS.events, STREAMS.state, STREAMS.models].map(
    (name, i) => [name, kept[i] ?? ""] as const,
  )) {
    const message = await jsm.streams.getMessage(stream, { last_by_subj: subject });
    expect(message?.string()).toBe("kept");
    await jsm.streams.purge(stream);
  }
});

describe("a worker of 0.1.0", () => {
  it("may do what it does", async () => {
    const nc = await opened("worker", "worker");
    const own = await jetstreamManager(nc, { checkAPI: false });
    const name = jobConsumer(TINY_KEY, "normal");
    const { config } = await own.consumers.info(STREAMS.jobs, name);
    await own.consumers.add(STREAMS.jobs, { ...config, ack_wait: nanos(LEASE_MS) });
    const job = jobOf(model);
    const edge = await opened("edge", "edge");
    await send(edge, job, "this");
    const next = `$JS.API.CONSUMER.MSG.NEXT.${STREAMS.jobs}.${name}`;
    const taken = await nc.request(next, '{"batch":1}', { noMux: true, timeout: LEASE_MS });
    const control = nc.subscribe(UNSCOPED.controlSubject(job.id), { max: 1 });
    await jetstream(nc).publish(UNSCOPED.eventSubject(0, job.id), "{}");
    await jetstream(nc).publish(UNSCOPED.stateSubject(job.id), "{}");
    const read = await own.direct.getMessage(STREAMS.state, { last_by_subj: UNSCOPED.stateSubject(job.id) });
    expect(read?.string()).toBe("{}");
    await nc.flush();
    edge.publish(UNSCOPED.controlSubject(job.id));
    expect((await control[Symbol.asyncIterator]().next()).done).toBe(false);
    await nc.request(taken.reply ?? "", "+ACK");
    await jsm.streams.purge(STREAMS.state);
  });

  it("has its jobs continued where it left them, by one of this release with its credentials", async () => {
    const broker = await brokerWith("worker");
    const edge = await opened("edge", "edge");
    const job = jobOf(model);
    const { latentHeight, latentWidth, numEmbeddings, numericsId } = model.info;
    const tokens = new Uint16Array(latentHeight * latentWidth).fill(numEmbeddings);
    const left = {
      v: 1,
      attempt: 1,
      numericsId,
      step: 1,
      images: 1,
      starts: 0,
      claims: 1,
      owner: "old",
    } as const;
    await jetstream(await opened("worker", "worker")).publish(
      UNSCOPED.stateSubject(job.id),
      encodeState(left, tokens),
    );
    await send(edge, job, "this");
    await serve(broker, () => expect.poll(() => hasEnded(job), FINISH).toBe(true));
    // The fence stays where it was: the worker of 0.1.0 would see it.
    expect(await subjectsOf(job, STREAMS.state)).toEqual([UNSCOPED.stateSubject(job.id)]);
    const state = await jsm.streams.getMessage(STREAMS.state, {
      last_by_subj: UNSCOPED.stateSubject(job.id),
    });
    expect(decodeState(state?.data ?? new Uint8Array()).value).toMatchObject({ attempt: 2, step: 3 });
    expect(await subjectsOf(job, STREAMS.events)).toEqual([eventSubject(0, TINY_KEY, job.id)]);
  });
});

describe("a worker of this release with credentials of 0.1.0", () => {
  it.each(["this", "0.1.0"] as const)("says to a hub of %s what it hears", async (release) => {
    const broker = await brokerWith("worker");
    const edge = await opened("edge", "edge");
    const job = jobOf(model);
    await send(edge, job, release);
    await serve(broker, () => expect.poll(() => hasEnded(job), FINISH).toBe(true));
    const isThis = release === "this";
    expect(await subjectsOf(job, STREAMS.events)).toEqual([
      isThis ? eventSubject(0, TINY_KEY, job.id) : UNSCOPED.eventSubject(0, job.id),
    ]);
    expect(await subjectsOf(job, STREAMS.state)).toEqual([
      isThis ? stateSubject(TINY_KEY, job.id) : UNSCOPED.stateSubject(job.id),
    ]);
  });

  it("hears hubs of both releases", async () => {
    const broker = await brokerWith("worker");
    await broker.leaseOf(TINY_KEY);
    const job = jobOf(model);
    const said = headers();
    said.set(MESSAGE_HEADERS.subjects, SCOPED);
    expect(broker.subjectsOf(job, TINY_KEY, said).controls).toEqual([
      controlSubject(TINY_KEY, job.id),
      UNSCOPED.controlSubject(job.id),
    ]);
    expect(broker.subjectsOf(job, TINY_KEY, undefined).controls).toEqual([UNSCOPED.controlSubject(job.id)]);
  });
});

it("serves jobs of a hub of 0.1.0 that were left over, with credentials that name the model", async () => {
  const broker = await brokerWith("scoped");
  const edge = await opened("edge", "edge");
  const job = jobOf(model);
  await send(edge, job, "0.1.0");
  await serve(broker, () => expect.poll(() => hasEnded(job), FINISH).toBe(true));
  expect(await subjectsOf(job, STREAMS.events)).toEqual([eventSubject(0, TINY_KEY, job.id)]);
});

describe("credentials of 0.1.0", () => {
  const letIn = (name: string): Promise<string> =>
    connect({ ...cluster.clientOptions(name), reconnect: false }).then(
      (connection) => connection.close().then(() => "let in"),
      (error: unknown) => String(error),
    );

  it("of a monitor were replaced", async () => {
    expect(await letIn("old-monitor")).toMatch(/authorization/i);
    expect(await letIn("monitor")).toBe("let in");
  });

  it("of workers and leaf nodes are accepted until they are retired", async () => {
    expect(await letIn("worker")).toBe("let in");
    cluster.files.authority.retireUnscoped();
    cluster.files.writeConfigs();
    cluster.reload();
    await expect.poll(() => letIn("worker"), FINISH).toMatch(/authorization/i);
    expect(await letIn("leaf")).toMatch(/authorization/i);
    for (const name of ["edge", "operator", "monitor", "scoped"]) expect(await letIn(name)).toBe("let in");
  });
});
