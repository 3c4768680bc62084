// Events that cannot be, and storage that fails: what is set aside, what is tried again, and that nobody else is harmed.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, wsconnect } from "@nats-io/nats-core";
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { EventApplier } from "../../edge/hub/events/apply.ts";
import type { Hub } from "../../edge/hub/hub.ts";
import { HubMetrics } from "../../edge/hub/metrics.ts";
import { Lanes } from "../../edge/hub/events/lanes.ts";
import { StreamCursor } from "../../edge/hub/nats/cursor.ts";
import { EventFollower, type StreamMessage } from "../../edge/hub/nats/follow.ts";
import { EventsPosition } from "../../edge/hub/nats/position.ts";
import { fileKey } from "../../edge/hub/storage/files.ts";
import { EventStore } from "../../edge/hub/storage/event-store.ts";
import { ParkedEvents } from "../../edge/hub/storage/parked-events.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import type { PredictionRecord } from "../../edge/prediction/records.ts";
import type { HubStub } from "../../edge/service/hubs.ts";
import { configOf } from "../../edge/config.ts";
import { tracingOf } from "../../edge/telemetry/tracing.ts";
import { newPredictionId } from "../../shared/ids.ts";
import type { Job } from "../../shared/job.ts";
import { createLogger } from "../../shared/log.ts";
import { modelKey } from "../../shared/model.ts";
import { eventSubject, INBOX_PREFIX, UNSCOPED } from "../../shared/subjects.ts";
import { PLAYED_MODELS } from "../support/played-models.ts";
import {
  eventBytes,
  hubs,
  IMAGE,
  MODEL_KEY,
  newJob,
  newPrediction,
  outputEvent,
  PlayedWorker,
  previewEvent,
  type Said,
  script,
  stepEvent,
} from "./support.ts";

/** Hubs of their own, since their streams are written by hand here. */
const SHARD = 6;
const FOLLOWED_SHARD = 7;
const STEPS = 4;
const KEY_NAME = "test";
const MAX_EVENTS = 10_000;

let worker: PlayedWorker;
let hub: HubStub;
let job: Job;
/** Another owner's prediction, which goes on whatever happens to the first. */
let other: Job;
let sequence = 2_000_000;

beforeAll(async () => {
  worker = await PlayedWorker.start();
  hub = hubs.ofShard(SHARD);
});
afterAll(async () => {
  await worker.close();
});

const messageOf = (
  to: Pick<Job, "id">,
  data: Uint8Array,
  subject = eventSubject(SHARD, MODEL_KEY, to.id),
): StreamMessage => ({ subject, sequence: ++sequence, data });
const event = (to: Pick<Job, "id">, [said, attachment]: [Said, Uint8Array?], attempt = 1): StreamMessage =>
  messageOf(to, eventBytes(said, attempt, attachment));
const apply = (message: StreamMessage): Promise<void> =>
  runInDurableObject(hub, (instance: Hub) => instance.apply(message));

const recordOf = async ({ id }: Job, keyName = KEY_NAME): Promise<PredictionRecord> =>
  unwrap(await hub.get(id, keyName));

async function refused(reason: string): Promise<number> {
  const samples = await hub.metrics();
  return (
    samples.find(
      ({ metric, labels }) => metric === "vqd_hub_events_refused_total" && labels["reason"] === reason,
    )?.value ?? -1
  );
}

async function create(made: Job, keyName: string): Promise<void> {
  unwrap(await hub.create(newPrediction(made, keyName)));
  // Out of the queue, which holds few.
  await worker.take({ id: made.id });
}

const stepOf = (step: number): [Said, number, Uint8Array] => {
  const [said, tokens] = stepEvent(step, STEPS, 2);
  return [said, 1, tokens];
};
const started = (resumedFrom = 0, total = STEPS): [Said] => [
  { type: "started", worker: "w", numericsId: "n", resumedFrom, total },
];

beforeEach(async () => {
  job = { ...newJob(SHARD, STEPS, 2), previews: 1 };
  other = newJob(SHARD, STEPS);
  await create(job, KEY_NAME);
  await create(other, "other");
});

/** The other prediction is made as if nothing had been. */
async function expectOtherUnharmed(): Promise<void> {
  for (const said of script(STEPS, 1)) await apply(event(other, said));
  expect(await recordOf(other, "other")).toMatchObject({ status: "succeeded", step: STEPS });
}

describe("an event that contradicts its prediction", () => {
  const [step, tokens] = stepEvent(1, STEPS, 2);
  const bytes = (count: number): Uint8Array => new Uint8Array(count);
  const [output] = outputEvent(0);
  const [preview] = previewEvent(0, 2);
  it.each<[string, Said, Uint8Array?]>([
    ["a step beyond the last", { ...step, step: 1_000 } as Said, tokens],
    ["another number of steps", { ...step, step: 1, total: 1 } as Said, tokens],
    ["no step", { ...step, step: 0 } as Said, tokens],
    ["another number of images", { ...step, images: 1 } as Said, bytes(8)],
    ["more masked pixels than there are", { ...step, masked: 9 } as Said, tokens],
    ["a timestep that the model has not", { ...step, timestep: 50 } as Said, tokens],
    ["too few tokens", step, bytes(14)],
    ["half a token", step, bytes(15)],
    ["too many tokens", step, bytes(18)],
    ["another total at its start", started(0, 5)[0]],
    ["a start beyond the end", started(5)[0]],
    ["an attachment where none belongs", started()[0], bytes(1)],
    ["an image that was not asked for", { ...output, index: 2 } as Said, IMAGE],
    ["an image of another format", { ...output, format: "webp" } as Said, IMAGE],
    ["an image of another size", { ...output, width: 17 } as Said, IMAGE],
    ["an image without content", output, bytes(0)],
    ["a preview too many", { ...preview, preview: 1 } as Said, IMAGE],
    ["a preview of an image that was not asked for", { ...preview, index: 2 } as Said, IMAGE],
    ["a preview of no step", { ...preview, step: 5 } as Said, IMAGE],
  ])("fails it: %s", async (_, said, attachment) => {
    const before = await refused("contradictory");
    await apply(event(job, attachment === undefined ? [said] : [said, attachment]));
    expect(await recordOf(job)).toMatchObject({
      status: "failed",
      errorCode: "internal",
      errorMessage: expect.stringContaining(`the worker sent an invalid event (${said.type}: `) as string,
      outputs: [],
    });
    expect(await refused("contradictory")).toBe(before + 1);
    await expectOtherUnharmed();
  });

  it("is one too many of a prediction that is told without end", async () => {
    await runInDurableObject(hub, (_, state) => {
      state.storage.sql.exec("UPDATE predictions SET event_seq = ? WHERE id = ?", MAX_EVENTS, job.id);
    });
    await apply(event(job, started()));
    expect((await recordOf(job)).errorMessage).toMatch(/more than 10000 events/);
  });

  it("has no effect once another attempt has begun", async () => {
    await apply(event(job, started(), 2));
    await apply(event(job, [{ ...step, step: 1_000 } as Said, tokens], 1));
    expect(await recordOf(job)).toMatchObject({ status: "processing", attempt: 2 });
  });
});

it("fails the prediction of a message that is no event", async () => {
  for (const data of [new Uint8Array(0), Uint8Array.of(1, 2, 3), new TextEncoder().encode('{"v":1}\n')]) {
    job = newJob(SHARD, STEPS);
    await create(job, KEY_NAME);
    const before = await refused("unreadable");
    await apply(messageOf(job, data));
    expect(await recordOf(job)).toMatchObject({ status: "failed", errorCode: "internal" });
    expect(await refused("unreadable")).toBe(before + 1);
  }
  await expectOtherUnharmed();
});

it("takes no notice of an event that is not for its shard, or from a worker of another model", async () => {
  const stranger = modelKey(PLAYED_MODELS.other);
  const subjects = [
    eventSubject(SHARD, MODEL_KEY, newPredictionId(SHARD + 1)),
    eventSubject(SHARD, MODEL_KEY, "x"),
    eventSubject(SHARD, MODEL_KEY, `${job.id}.x`),
    eventSubject(SHARD + 1, MODEL_KEY, job.id),
    eventSubject(SHARD, stranger, job.id),
  ];
  const told: string[] = [];
  worker.nc.subscribe(`vqd.control.${MODEL_KEY}.*`, {
    callback: (_, { subject }) => void told.push(subject),
  });
  await worker.nc.flush();
  const before = await refused("misplaced");
  for (const subject of subjects) {
    for (const data of [eventBytes(...stepOf(1)), Uint8Array.of(1)])
      await apply(messageOf(job, data, subject));
  }
  expect(await refused("misplaced")).toBe(before + 2 * subjects.length);
  expect(await recordOf(job)).toMatchObject({ status: "starting" });
  // The worker of one that has ended is told to stop: by then the others would have been.
  unwrap(await hub.cancel(job.id, KEY_NAME));
  await expect.poll(() => told).toEqual([`vqd.control.${MODEL_KEY}.${job.id}`]);
});

it("hears workers of 0.1.0, whose subjects name no model", async () => {
  const subject = UNSCOPED.eventSubject(SHARD, job.id);
  for (const [said, attachment] of script(STEPS, 2)) {
    await apply(messageOf(job, eventBytes(said, 1, attachment), subject));
  }
  expect(await recordOf(job)).toMatchObject({ status: "succeeded" });
});

it("takes a time that nobody can have worked for the life of the prediction", async () => {
  const events = [...script(STEPS, 2)].slice(0, -1);
  for (const said of events) await apply(event(job, said));
  await apply(event(job, [{ type: "succeeded", predictSeconds: 1e12 }]));
  const { status, predictSeconds } = await recordOf(job);
  expect(status).toBe("succeeded");
  expect(predictSeconds).toBeLessThan(60);
});

describe("SQLite", () => {
  const exec = (statement: string): Promise<unknown> =>
    runInDurableObject(hub, (_, state) => {
      state.storage.sql.exec(statement);
    });
  afterEach(() => exec("DROP TRIGGER IF EXISTS refuse"));

  it("that takes all but an event fails its prediction, and the hub goes on", async () => {
    await exec(
      "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.type = 'output' BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    const before = await refused("unapplicable");
    await apply(event(job, outputEvent(0)));
    expect(await recordOf(job)).toMatchObject({ status: "failed", errorCode: "internal", outputs: [] });
    expect(await refused("unapplicable")).toBe(before + 1);
    await exec("DROP TRIGGER refuse");
    await expectOtherUnharmed();
  });

  it("that takes all but a prediction's steps fails it once they are to be written", async () => {
    await exec(
      "CREATE TRIGGER refuse BEFORE INSERT ON events WHEN NEW.type = 'steps' BEGIN SELECT RAISE(ABORT, 'no'); END",
    );
    const before = await refused("unapplicable");
    await apply(event(job, started()));
    await apply(event(job, stepEvent(1, STEPS, 2)));
    await expect.poll(() => recordOf(job)).toMatchObject({ status: "failed", step: 0 });
    expect(await refused("unapplicable")).toBe(before + 1);
    await exec("DROP TRIGGER refuse");
    await expectOtherUnharmed();
  });

  it("that takes nothing leaves an event to be applied again, and keeps steps until it does", async () => {
    await apply(event(job, started()));
    await apply(event(job, stepEvent(1, STEPS, 2)));
    await exec("CREATE TRIGGER refuse BEFORE UPDATE ON predictions BEGIN SELECT RAISE(ABORT, 'full'); END");
    const message = event(job, outputEvent(0));
    await expect(apply(message)).rejects.toThrow(/full/);
    expect(await recordOf(job)).toMatchObject({ status: "processing", step: 1, outputs: [] });
    await exec("DROP TRIGGER refuse");
    await apply(message);
    expect(await recordOf(job)).toMatchObject({ step: 1, outputs: [{ index: 0 }] });
    const steps = await runInDurableObject(hub, (_, { storage }) =>
      new EventStore(storage).after(job.id, 0, 100).filter(({ type }) => type === "step"),
    );
    expect(steps).toHaveLength(1);
    await expectOtherUnharmed();
  });
});

/** What a test inside of the hub's object has at hand. */
interface Inside {
  readonly applier: EventApplier;
  readonly store: PredictionStore;
  readonly parked: ParkedEvents;
  /** Object storage, which takes no image of `job` while `isDown`. */
  readonly bucket: { isDown: boolean; tries: number };
}

describe("object storage that does not take an image", () => {
  /** A second applier of the hub, as after a start, with a bucket that can fail. */
  const inside = (work: (inside: Inside) => Promise<void>): Promise<void> =>
    runInDurableObject(hub, async (_, state) => {
      const store = new PredictionStore(state.storage);
      const parked = new ParkedEvents(state.storage);
      const bucket = { isDown: true, tries: 0 };
      const failing = store.get(job.id)?.fileCapability ?? "";
      const files = new Proxy(env.FILES, {
        get(target, property) {
          if (property !== "put") return Reflect.get(target, property) as unknown;
          return async (key: string, image: Uint8Array, options: R2PutOptions) => {
            bucket.tries++;
            if (bucket.isDown && key.startsWith(failing)) throw new Error("unavailable");
            return target.put(key, image, options);
          };
        },
      });
      const applier = new EventApplier({
        shard: SHARD,
        store,
        cursor: new StreamCursor(store),
        parked,
        models: { get: () => undefined },
        files,
        tracing: tracingOf(configOf(env)),
        metrics: new HubMetrics(),
        log: createLogger(() => {}),
        // At once: another test's applier, which goes on retrying, has a buffer of its own.
        onApplied: () => {
          for (const id of store.events.unwritten()) store.events.flush(id);
        },
        onHeard: () => {},
        onChanged: () => {},
        onStarted: () => {},
        onEnded: () => {},
        onOrphan: () => {},
      });
      await work({ applier, store, parked, bucket });
    });
  const RETRIES = { timeout: 12_000 };

  it("holds up its own prediction only, and no event is lost or overtakes another", async () => {
    await inside(async ({ applier, store, parked, bucket }) => {
      for (const said of script(STEPS, 2)) await applier.apply(event(job, said));
      expect(store.get(job.id)).toMatchObject({ status: "processing", step: STEPS, outputs: [] });
      for (const said of script(STEPS, 1)) await applier.apply(event(other, said));
      expect(store.get(other.id)).toMatchObject({ status: "succeeded" });
      await expect.poll(() => bucket.tries, RETRIES).toBeGreaterThan(3);
      expect(parked.count).toBe(3);
      bucket.isDown = false;
      await expect.poll(() => store.get(job.id)?.status, RETRIES).toBe("succeeded");
      expect(parked.count).toBe(0);
    });
    const { outputs, fileCapability } = await recordOf(job);
    expect(outputs).toEqual([
      { index: 0, name: "0.png" },
      { index: 1, name: "1.png" },
    ]);
    const file = await env.FILES.get(fileKey(fileCapability, "1.png"));
    expect(new Uint8Array((await file?.arrayBuffer()) ?? new ArrayBuffer())).toEqual(IMAGE);
  });

  it("is tried again by a hub that has been started anew", async () => {
    await inside(async ({ applier, parked }) => {
      for (const said of script(STEPS, 2)) await applier.apply(event(job, said));
      expect(parked.count).toBe(3);
    });
    await inside(async ({ store, bucket }) => {
      bucket.isDown = false;
      await expect.poll(() => store.get(job.id)?.status, RETRIES).toBe("succeeded");
    });
  });

  it("is no longer tried for a prediction that has ended", async () => {
    await inside(async ({ applier }) => {
      for (const said of script(STEPS, 2)) await applier.apply(event(job, said));
    });
    unwrap(await hub.cancel(job.id, KEY_NAME));
    await inside(({ parked }) => expect.poll(() => parked.count, RETRIES).toBe(0));
    expect(await recordOf(job)).toMatchObject({ status: "canceled", outputs: [] });
  });

  it("loses a preview, and not the prediction", async () => {
    await inside(async ({ applier, store, parked }) => {
      await applier.apply(event(job, started()));
      await applier.apply(event(job, previewEvent(0, 2)));
      await applier.apply(event(job, stepEvent(3, STEPS, 2)));
      await expect.poll(() => store.get(job.id)?.step, RETRIES).toBe(3);
      expect(parked.count).toBe(0);
    });
  });
});

it("brings an event that failed again, in its place, and what follows it", async () => {
  const connectAs = (user: "edge" | "worker", pass: string): Promise<NatsConnection> =>
    wsconnect({ servers: env.NATS_URL, user, pass, inboxPrefix: INBOX_PREFIX[user], reconnect: false });
  const id = newPredictionId(FOLLOWED_SHARD);
  const texts = Array.from({ length: 8 }, (_, n) => String(n));
  const seen: string[] = [];
  const position = new EventsPosition();
  /** Since when it is behind, at each message. */
  const behind: (number | null)[] = [];
  const from = Date.now();
  let failures = 0;
  await runInDurableObject(hubs.ofShard(FOLLOWED_SHARD), async (_, state) => {
    const nc = await connectAs("edge", env.NATS_PASSWORD ?? "");
    const session = { nc, js: jetstream(nc), jsm: await jetstreamManager(nc, { checkAPI: false }) };
    const cursor = new StreamCursor(new PredictionStore(state.storage));
    const lanes = new Lanes();
    const follower = new EventFollower({
      session,
      shard: FOLLOWED_SHARD,
      cursor,
      position,
      log: createLogger(() => {}),
      room: () => lanes.room(),
      handle: ({ data, sequence: at }) =>
        lanes.run(id, data.length, async () => {
          const text = new TextDecoder().decode(data);
          // So that others come meanwhile.
          await new Promise((resolve) => setTimeout(resolve, 5));
          behind.push(position.behindSince);
          if (text === "3" && failures++ < 2) throw new Error("not now");
          seen.push(text);
          cursor.advance(at);
        }),
    });
    await follower.start();
    const played = await connectAs("worker", env.WORKER_PASSWORD);
    for (const text of texts)
      await jetstream(played).publish(eventSubject(FOLLOWED_SHARD, MODEL_KEY, id), text);
    await expect.poll(() => seen.length, { timeout: 12_000 }).toBe(texts.length);
    await expect.poll(() => position.behindSince).toBeNull();
    follower.stop();
    await Promise.all([nc.close(), played.close()]);
  });
  expect(seen).toEqual(texts);
  expect(failures).toBe(3);
  // By the broker's clock, which is this machine's.
  for (const at of behind) expect(Math.abs((at ?? 0) - from)).toBeLessThan(60_000);
});
