// The status of the service: who works, what waits, how fast; for everybody and for those who run it. And pages for browsers.

import { afterAll, afterEach, beforeAll, expect, it, vi } from "vitest";
import type { z } from "zod";
import { queueSchema, statusSchema } from "../../edge/api-docs/status.ts";
import {
  overall,
  type ServiceStatus,
  unlessBusy,
  type VersionStatus,
  type WorkerState,
} from "../../edge/service/status.ts";
import { call, MODEL, PlayedWorker } from "./support.ts";
import { storeKey } from "./stored-key.ts";

type Status = z.infer<typeof statusSchema>;
type Queue = z.infer<typeof queueSchema>;

const PROMPT = "what nobody else should read";
/** Longer than anything is cached, and than a worker that was seen counts as alive. */
const LATER_MS = 60_000;

let worker: PlayedWorker;
const made: string[] = [];
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterEach(async () => {
  vi.restoreAllMocks();
  for (const id of made.splice(0)) await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
});
afterAll(() => worker.close());

const realNow = Date.now.bind(Date);
let later = 0;
/** Lets what is cached grow old. */
function waitLong(): void {
  later += LATER_MS;
  vi.spyOn(Date, "now").mockImplementation(() => realNow() + later);
}

async function status(): Promise<Status["models"][number] & Pick<Status, "status" | "nats" | "hubs">> {
  const response = await call("/v1/status", { key: null });
  expect([response.status, response.headers.get("cache-control")]).toEqual([200, "public, max-age=5"]);
  const text = await response.text();
  for (const secret of [PROMPT, '"test"', "test-key"]) expect(text).not.toContain(secret);
  const { models, ...rest } = statusSchema.parse(JSON.parse(text));
  const model = models.find(({ version }) => version === MODEL.version);
  if (model === undefined) throw new Error("the model is not listed");
  return { ...model, ...rest };
}

async function queue(): Promise<Queue["data"][number]> {
  const { data } = queueSchema.parse(await (await call("/v1/queue")).json());
  const version = data.find((one) => one.version === MODEL.version);
  if (version === undefined) throw new Error("the version is not listed");
  return version;
}

async function create(priority: string): Promise<string> {
  const json = { input: { prompt: PROMPT, num_inference_steps: 5 }, priority };
  const { id } = await (await call("/v1/predictions", { json })).json<{ id: string }>();
  made.push(id);
  return id;
}

it("says whether a worker waits for jobs or works on one, and what waits", async () => {
  waitLong();
  expect(await status()).toMatchObject({
    workers: "none",
    nats: "connected",
    hubs: { total: 1, answering: 1, cut_off: 0 },
    waiting_at_least: 0,
  });

  // One has room.
  const first = worker.next();
  await vi.waitFor(
    async () => {
      waitLong();
      expect(await queue()).toMatchObject({ workers: "alive", workers_with_room: 1, running: 0 });
    },
    { timeout: 5_000 },
  );
  expect(await status()).toMatchObject({ workers: "alive", waiting_at_least: 0 });

  // It takes a job; others wait.
  const id = await create("normal");
  const job = await first;
  expect(job.id).toBe(id);
  for (const priority of ["high", ...Array.from({ length: 5 }, () => "normal"), "low"])
    await create(priority);
  await worker.say(job, { type: "started", worker: "w", numericsId: "n", resumedFrom: 0, total: 5 });
  await vi.waitFor(
    async () => {
      waitLong();
      expect(await queue()).toMatchObject({
        running: 1,
        waiting: { high: 1, normal: 5, low: 1 },
        workers_with_room: 0,
      });
    },
    { timeout: 5_000 },
  );
  expect((await status()).waiting_at_least).toBe(5);

  // It is not heard of any more.
  waitLong();
  expect(await status()).toMatchObject({ workers: "none" });
  // It is again.
  await worker.play({ ...job, numInferenceSteps: 5 });
  await vi.waitFor(async () => {
    waitLong();
    expect((await queue()).running).toBe(0);
  });
  expect((await queue()).seconds_per_image_step).toBeGreaterThan(0);
  expect((await status()).seconds_per_image).toBeGreaterThan(0);
});

it("asks the hub once in some seconds, however often anybody asks", async () => {
  waitLong();
  const checked = async (): Promise<string> =>
    (await (await call("/v1/status", { key: null })).json<Status>()).checked_at;
  const first = await checked();
  const times = new Set(await Promise.all(Array.from({ length: 20 }, checked)));
  expect([...times]).toEqual([first]);
  waitLong();
  expect(times).not.toContain(await checked());
});

it.each<[ReturnType<typeof overall>, string, WorkerState[], number, number?]>([
  ["operational", "connected", ["alive", "unknown"], 2],
  ["degraded", "connected", ["alive", "none"], 2],
  ["degraded", "connected", ["alive"], 1],
  ["degraded", "connected", ["alive"], 2, 1],
  ["unavailable", "connected", ["none", "none"], 2],
  ["unavailable", "connected", [], 2],
  ["unavailable", "unreachable", ["alive"], 2],
])(
  "is %s while NATS is %s, and workers of what is served are %j",
  (wanted, nats, workers, answering, cutOff = 0) => {
    const versions = [...workers.map((state) => [state, 1] as const), ["none", 0] as const].map(
      ([state, share]) => ({ workers: state, model: { ...MODEL, tokenizerId: null, share } }),
    );
    const known = {
      nats,
      hubs: { total: 2, answering, cut_off: cutOff },
      versions,
    } as unknown as ServiceStatus;
    expect(overall(known)).toBe(wanted);
  },
);

it("does not take a model for abandoned whose workers may be at work on another", () => {
  const [none, room] = [
    { workers: "none", withRoom: 0 },
    { workers: "alive", withRoom: 1, running: 1 },
  ];
  const busy = { workers: "alive", withRoom: 0, running: 1 };
  const states = (...versions: object[]): WorkerState[] =>
    unlessBusy(versions as VersionStatus[]).map(({ workers }) => workers);
  expect(states(busy, none)).toEqual(["alive", "unknown"]);
  expect(states(busy, none, room)).toEqual(["alive", "none", "alive"]);
  expect(states({ ...busy, running: 0 }, none)).toEqual(["alive", "none"]);
  expect(states(none, { ...none, running: 1 })).toEqual(["none", "none"]);
});

it("tells what covers all owners only to keys for that", async () => {
  const key = await storeKey({ scopes: ["read", "create", "admin"] });
  const response = await call("/v1/queue", { key });
  expect(response.status).toBe(403);
  expect(await response.json()).toMatchObject({ code: "forbidden" });
  expect((await call("/v1/queue", { key: null })).status).toBe(401);
  expect((await call("/v1/queue", { key: await storeKey({ scopes: ["metrics"] }) })).status).toBe(200);
});

it("answers people with a page where there is nothing, and programs as ever", async () => {
  const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8";
  for (const path of ["/v1/none", "/v1/models/a/b/c/d", "/none"]) {
    const page = await call(path, { key: null, headers: { accept: browser } });
    expect([path, page.status, page.headers.get("content-type")]).toEqual([
      path,
      404,
      expect.stringMatching(/^text\/html/),
    ]);
    expect(page.headers.get("content-security-policy")).toContain("script-src 'self'");
    expect(await page.text()).toContain("There is nothing at this address");
    for (const accept of ["application/json", "*/*", "application/json, text/html"]) {
      const answer = await call(path, { key: null, headers: { accept } });
      expect([accept, answer.status]).toEqual([accept, 404]);
      expect(answer.headers.get("content-type")).toMatch(/json/);
      await answer.body?.cancel();
    }
  }
});
