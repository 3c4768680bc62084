// Whatever is said to a running worker with the credentials of any role, in whatever form: its process goes on, and an honest
// caller's image is the same as before. (What is said to a hub: test/workerd/hostile-*.test.ts.)

import * as fc from "fast-check";
import { headers, type NatsConnection, connect } from "nats";
import { encodeJob, encodeState } from "@vqd/shared/codec.ts";
import { newPredictionId } from "@vqd/shared/ids.ts";
import type { Job } from "@vqd/shared/job.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { controlSubject, INBOX_PREFIX, jobSubject, PRIORITIES, stateSubject } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import type { Passwords } from "../../infra/nats/config.ts";
import { damaged } from "../support/frames.ts";
import { makeJob } from "../support/job.ts";
import { generateImage, request } from "./support/client.ts";
import { TestEdge } from "./support/jobs.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

const TOKENS = 64;
const CLASSES = 129;

let test: TestStack;
let model: { name: string; version: string };
let key: string;
let wanted: Buffer;
let pids: (number | undefined)[];
const connections: NatsConnection[] = [];

async function connectAs(user: keyof Passwords): Promise<NatsConnection> {
  const { natsUrl: servers, passwords } = test.stack;
  const inboxPrefix = `_INBOX_${user}`;
  const connection = await connect({ servers, user, pass: passwords[user], inboxPrefix });
  connections.push(connection);
  return connection;
}

const honestImage = (): Promise<Buffer> =>
  generateImage(test, { prompt: "a red apple", seed: 7, num_inference_steps: 3 });
const runningPids = (): (number | undefined)[] =>
  [...test.stack.workers, test.stack.edge, test.stack.nats].map(({ pid }) => pid);

beforeAll(async () => {
  test = await startTestStack({ workers: 1, model: TINY_MODEL });
  const models = (await (await request(test, "/v1/models")).json()) as {
    data: { id: string; latest_version: { id: string } }[];
  };
  const [served] = models.data;
  if (served === undefined) throw new Error("no model");
  model = { name: served.id, version: served.latest_version.id };
  key = modelKey(model);
  wanted = await honestImage();
  pids = runningPids();
});
afterAll(async () => {
  await Promise.all(connections.map((connection) => connection.close()));
  await test.stop();
});

async function expectAllIsWell(): Promise<void> {
  expect((await honestImage()).equals(wanted)).toBe(true);
  expect(runningPids()).toEqual(pids);
}

/** A small job of the worker's model. */
const jobOf = (changes: Partial<Job> = {}): Job =>
  makeJob({
    model: model.name,
    version: model.version,
    prompts: [[1, 2, 3, 4, 5, 6, 7, 8]],
    numInferenceSteps: 3,
    ...changes,
  });

const anyText = fc.oneof(
  fc.string({ maxLength: 50, unit: "grapheme" }),
  fc.constant("\u001b]0;x\u0007"),
  fc.constant("x".repeat(3_000)),
);

it("with the edge's: jobs that are damaged, repeated, of another model, with other headers; cancellations of anything", async () => {
  const edge = await connectAs("edge");
  const frame = fc.constant(undefined).map(() => encodeJob(jobOf()));
  const other = { model: "vqd/other", version: "0".repeat(64) };
  const message = fc.record({
    data: fc.oneof(
      { weight: 8, arbitrary: frame.chain(damaged) },
      { weight: 2, arbitrary: frame },
      { weight: 1, arbitrary: fc.constant(undefined).map(() => encodeJob(jobOf(other))) },
    ),
    priority: fc.constantFrom(...PRIORITIES),
    times: fc.integer({ min: 1, max: 3 }),
    header: fc.option(
      fc.tuple(fc.constantFrom("traceparent", "Vqd-Request-Id", "Vqd-Subjects", "Nats-Msg-Id"), anyText),
    ),
    control: fc.option(fc.uint8Array({ maxLength: 100 })),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(message, { minLength: 5, maxLength: 20 }), async (messages) => {
      for (const { data, priority, times, header, control } of messages) {
        const sent = headers();
        // The client refuses line ends itself.
        if (header !== null) sent.set(header[0], header[1].replaceAll(/[\r\n\0]/g, " "));
        for (let time = 0; time < times; time++) {
          edge.publish(jobSubject(key, priority), data, { headers: sent });
        }
        if (control !== null) edge.publish(controlSubject(key, newPredictionId(0)), control);
      }
      await edge.flush();
      await expectAllIsWell();
    }),
    { numRuns: 10 },
  );
}, 300_000);

it("with another worker's: states that are damaged, swapped and made up", async () => {
  const { natsUrl: url, passwords } = test.stack;
  const [edge, worker] = await Promise.all([TestEdge.connect({ url, passwords }), connectAs("worker")]);
  const states = fc
    .record({
      step: fc.integer({ min: 0, max: 4 }),
      images: fc.integer({ min: 1, max: 3 }),
      starts: fc.integer({ min: 0, max: 3 }),
      claims: fc.integer({ min: 0, max: 30 }),
      attempt: fc.integer({ min: 1, max: 5 }),
      numericsId: fc.constantFrom("other", ""),
      tokens: fc.constantFrom(TOKENS, 0, 1, 2 * TOKENS),
      token: fc.integer({ min: 0, max: CLASSES + 1 }),
    })
    .map(({ tokens, token, ...state }) =>
      encodeState({ v: 1, owner: "other", ...state }, new Uint16Array(tokens).fill(token)),
    );
  const frame = fc.oneof({ weight: 2, arbitrary: states }, { weight: 3, arbitrary: states.chain(damaged) });
  await fc.assert(
    fc.asyncProperty(fc.array(frame, { minLength: 3, maxLength: 10 }), async (frames) => {
      const jobs = frames.map((data) => {
        const job = jobOf();
        worker.publish(stateSubject(key, job.id), data);
        return job;
      });
      await worker.flush();
      for (const job of jobs) await edge.send(job, key);
      for (const { id } of jobs) expect(await edge.endOf(id)).toMatch(/^(succeeded|failed: )/);
      await expectAllIsWell();
    }),
    { numRuns: 8 },
  );
  await edge.close();
}, 300_000);

it("with a monitor's: questions of any content, with and without an address", async () => {
  const monitor = await connectAs("monitor");
  const question = fc.record({
    verb: fc.constantFrom("PING", "INFO", "STATS"),
    whose: fc.constantFrom("", ".vqd-worker", ".vqd-worker.none"),
    data: fc.oneof(fc.uint8Array({ maxLength: 1_000 }), anyText),
    reply: fc.constantFrom(undefined, `${INBOX_PREFIX.monitor}.x`, "$JS.API.STREAM.PURGE.VQD_JOBS"),
  });
  await fc.assert(
    fc.asyncProperty(fc.array(question, { minLength: 20, maxLength: 200 }), async (questions) => {
      for (const { verb, whose, data, reply } of questions) {
        monitor.publish(`$SRV.${verb}${whose}`, data, reply === undefined ? {} : { reply });
      }
      await monitor.flush();
      const answer = await monitor.request("$SRV.PING.vqd-worker", "", { timeout: 10_000 });
      expect(answer.json()).toMatchObject({ name: "vqd-worker" });
      await expectAllIsWell();
    }),
    { numRuns: 3 },
  );
}, 120_000);
