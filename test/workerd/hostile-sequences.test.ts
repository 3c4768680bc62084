// Whatever a worker says, in whatever order and form: the hub takes it, its prediction stays one, and another one's ends well.

import { runInDurableObject } from "cloudflare:test";
import * as fc from "fast-check";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Hub } from "../../edge/hub/hub.ts";
import { EventStore } from "../../edge/hub/storage/event-store.ts";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import { isFinal } from "../../edge/prediction/statuses.ts";
import type { StoredEvent } from "../../edge/prediction/records.ts";
import type { HubStub } from "../../edge/service/hubs.ts";
import type { Job } from "../../shared/job.ts";
import { eventSubject, UNSCOPED } from "../../shared/subjects.ts";
import { damaged } from "../support/frames.ts";
import {
  eventBytes,
  hubs,
  MODEL_KEY,
  newJob,
  newPrediction,
  PlayedWorker,
  previewEvent,
  type Said,
  script,
} from "./support.ts";

/** A hub of its own, since its stream is written by hand here. */
const SHARD = 8;
const STEPS = 4;
const IMAGES = 2;
const ATTEMPTS = 3;
const RUNS = 40;
const STRANGER = "vqd--stranger--0123456789ab";

let worker: PlayedWorker;
let hub: HubStub;
let sequence = 3_000_000;

beforeAll(async () => {
  worker = await PlayedWorker.start();
  hub = hubs.ofShard(SHARD);
});
afterAll(async () => {
  await worker.close();
});

async function create(job: Job, keyName: string): Promise<void> {
  unwrap(await hub.create(newPrediction(job, keyName)));
  // Out of the queue, which holds few.
  await worker.take({ id: job.id });
}

/** All that workers may truthfully say of the prediction, of each attempt. */
const truths: readonly [Said, Uint8Array?][] = [
  ...script(STEPS, IMAGES),
  previewEvent(0, 2),
  previewEvent(0, 2, 1),
  [{ type: "started", worker: "w", numericsId: "other", resumedFrom: 2, total: STEPS }],
  [{ type: "started", worker: "w", numericsId: "played-1", resumedFrom: 1, total: STEPS, yields: true }],
  [{ type: "yielded", step: 1, predictSeconds: 0.1 }],
  [{ type: "canceled" }],
  [{ type: "failed", error: { code: "model_error", message: "no memory" } }],
];
const frame = fc
  .tuple(fc.nat({ max: truths.length - 1 }), fc.integer({ min: 1, max: ATTEMPTS }))
  .map(([place, attempt]) => {
    const [said, attachment] = truths[place] ?? [{ type: "canceled" } as const];
    return eventBytes(said, attempt, attachment);
  });
const message = fc.record({
  // Mostly true ones: a single one that cannot be ends the prediction.
  data: fc.oneof({ weight: 12, arbitrary: frame }, { weight: 1, arbitrary: frame.chain(damaged) }),
  by: fc.constantFrom("model", "model", "model", "stranger", "0.1.0"),
  /** Delivered again, as after a restart of the hub. */
  times: fc.integer({ min: 1, max: 2 }),
});

const subjectOf = ({ id }: Job, by: string): string =>
  by === "0.1.0"
    ? UNSCOPED.eventSubject(SHARD, id)
    : eventSubject(SHARD, by === "stranger" ? STRANGER : MODEL_KEY, id);

async function apply(job: Job, data: Uint8Array, by = "model"): Promise<void> {
  const sent = { subject: subjectOf(job, by), sequence: ++sequence, data };
  await runInDurableObject(hub, (instance: Hub) => instance.apply(sent));
}

const eventsOf = ({ id }: Job): Promise<StoredEvent[]> =>
  runInDurableObject(hub, (_, state) => new EventStore(state.storage).after(id, 0, 10_000));

it("leaves predictions as they may be", { timeout: 120_000 }, async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 1, maxLength: 40 }), async (messages) => {
      const job = { ...newJob(SHARD, STEPS, IMAGES), previews: 1 };
      const bystander = newJob(SHARD, STEPS);
      await create(job, "test");
      await create(bystander, "other");
      const honest = [...script(STEPS, 1)];
      for (const { data, by, times } of messages) {
        for (let time = 0; time < times; time++) await apply(job, data, by);
        const [said, attachment] = honest.shift() ?? [];
        if (said !== undefined) await apply(bystander, eventBytes(said, 1, attachment));
      }
      for (const [said, attachment] of honest) await apply(bystander, eventBytes(said, 1, attachment));

      const other = unwrap(await hub.get(bystander.id, "other"));
      expect(other).toMatchObject({ status: "succeeded", step: STEPS, outputs: [{ index: 0 }] });
      const own = unwrap(await hub.get(job.id, "test"));
      expect(own.step).toBeGreaterThanOrEqual(0);
      expect(own.step).toBeLessThanOrEqual(STEPS);
      expect(own.attempt).toBeLessThanOrEqual(1_000_000);
      const places = own.outputs.map(({ index }) => index);
      expect(new Set(places).size).toBe(places.length);
      if (own.status === "succeeded") expect(places).toEqual([0, 1]);

      const events = await eventsOf(job);
      expect(events.map(({ seq }) => seq)).toEqual(events.map((__, place) => place + 1));
      for (const { type, data } of events) if (type !== "logs") JSON.parse(data);
      const ends = events.filter(({ type }) => type === "done");
      expect(ends.length).toBe(isFinal(own.status) ? 1 : 0);
      if (ends.length > 0) expect(events.at(-1)?.type).toBe("done");
      unwrap(await hub.cancel(job.id, "test"));
    }),
    { numRuns: RUNS },
  );
});
