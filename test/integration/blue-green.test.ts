// A new version of a model beside the old one: an operator decides which serves, whatever workers announce. The old version
// has a real worker; the new one's is played.

import { userInfo } from "node:os";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { connect, nanos, type NatsConnection } from "nats";
import { decodeJob, decodeManifest, encodeManifest } from "@vqd/shared/codec.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { API_DOMAIN, INBOX_PREFIX, jobConsumer, modelSubject, STREAMS } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { readRoute, RouteConflict, withShares, writeRoute } from "../../gpu-worker/ops/routes.ts";
import { vqd as run } from "../support/cli.ts";
import { type PredictionBody, request } from "./support/client.ts";
import { TINY_KEY } from "./support/nats.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

const NAME = "vqd/checkpoint";
const NEW = "5f".repeat(32);
const NEW_KEY = modelKey({ name: NAME, version: NEW });
/** Edges refresh their list every three seconds. */
const HEARD = { timeout: 20_000, interval: 200 };

interface Created extends PredictionBody {
  version: string;
}
interface Listed {
  version: string;
  share: number;
  retired: boolean;
  workers: number;
  waiting: number | null;
  running: number | null;
  announcedAt: string | null;
}

let test: TestStack;
let worker: NatsConnection;
let operator: NatsConnection;
let old: string;
let announcement: Uint8Array;

beforeAll(async () => {
  test = await startTestStack({
    model: TINY_MODEL,
    otherModels: [NEW_KEY],
    edgeEnv: { RATE_LIMIT_PER_MINUTE: "100000" },
  });
  const { natsUrl: servers, passwords } = test.stack;
  const as = (user: "worker" | "operator") =>
    connect({ servers, user, pass: passwords[user], inboxPrefix: INBOX_PREFIX[user] });
  [worker, operator] = await Promise.all([as("worker"), as("operator")]);
  const jsm = await jetstreamManager(operator);
  const manifest = await jsm.streams.getMessage(STREAMS.models, { last_by_subj: modelSubject(TINY_KEY) });
  const { value, attachment } = decodeManifest(manifest?.data ?? new Uint8Array());
  old = value.version;
  announcement = encodeManifest({ ...value, version: NEW }, attachment);
});
afterAll(async () => {
  await Promise.all([worker.close(), operator.close()]);
  await test.stop();
});

const announce = () => jetstream(worker).publish(modelSubject(NEW_KEY), announcement);

async function vqd(...args: string[]): Promise<string> {
  const { code, stdout, stderr } = await run("models", ...args, "--data", test.stack.dataDir);
  if (code !== 0) throw new Error(stderr);
  return stdout;
}
const list = async (version: string): Promise<Listed | undefined> =>
  (JSON.parse(await vqd("list", "--json")) as Listed[]).find((one) => one.version === version);

/** As the edge lists them: the newest first. */
async function versions(): Promise<{ id: string; share: number; created_at: string }[]> {
  const answer = await request(test, `/v1/models/${NAME}/versions`);
  return ((await answer.json()) as { results: { id: string; share: number; created_at: string }[] }).results;
}
const sharesOf = async (): Promise<Record<string, number>> =>
  Object.fromEntries((await versions()).map(({ id, share }) => [id, share]));

async function create(body: object = {}, headers: Record<string, string> = {}): Promise<Created> {
  const json = { ...body, input: { prompt: "a", num_inference_steps: 1 } };
  const answer = await request(test, "/v1/predictions", json, { headers });
  if (!answer.ok) throw new Error(await answer.text());
  return (await answer.json()) as Created;
}
async function cancel({ id }: Created): Promise<void> {
  const answer = await request(test, `/v1/predictions/${id}/cancel`, {});
  if (!answer.ok) throw new Error(await answer.text());
}

/** The version that serves a request for the name. */
async function served(headers: Record<string, string> = {}): Promise<string> {
  const created = await create({ model: NAME }, headers);
  await cancel(created);
  return created.version;
}

it("npm start routes to the version that its worker has announced", async () => {
  expect(await list(old)).toMatchObject({ share: 1, retired: false, workers: 1, waiting: 0, running: 0 });
  expect(await served()).toBe(old);
});

it("announcing another version changes nothing", async () => {
  await announce();
  await expect.poll(sharesOf, HEARD).toEqual({ [old]: 1, [NEW]: 0 });
  expect((await versions())[0]?.id).toBe(NEW);
  expect(await served()).toBe(old);
  const { latest_version: shown } = (await (await request(test, `/v1/models/${NAME}`)).json()) as {
    latest_version: object;
  };
  expect(shown).toMatchObject({ id: old, share: 1 });
  const explicit = await create({ version: NEW });
  expect(explicit.version).toBe(NEW);
  await cancel(explicit);
});

it("an operator promotes it, and no restart of an old worker takes the requests back", async () => {
  expect(await vqd("promote", NAME, NEW.slice(0, 6))).toBe(`${NAME}: ${NEW.slice(0, 12)} 100%\n`);
  await expect.poll(() => served(), HEARD).toBe(NEW);
  const announced = async (): Promise<string | undefined> =>
    (await versions()).find(({ id }) => id === old)?.created_at;
  const before = await announced();
  await test.stack.workers[0]?.kill();
  await test.stack.waitReady();
  // The edge knows of the restart, and the restarted worker's announcement is the latest.
  await expect.poll(announced, HEARD).not.toBe(before);
  expect((await versions())[0]?.id).toBe(old);
  const after = await Promise.all(Array.from({ length: 10 }, () => served()));
  expect(new Set(after)).toEqual(new Set([NEW]));
});

it("an operator splits the requests, by their ids or idempotency keys", async () => {
  await vqd("split", NAME, `${old.slice(0, 8)}=90`, `${NEW.slice(0, 8)}=10`);
  await expect.poll(sharesOf, HEARD).toEqual({ [old]: 0.9, [NEW]: 0.1 });
  const total = 300;
  let toNew = 0;
  const next = Array.from({ length: total }, (_, i) => i).values();
  await Promise.all(
    Array.from({ length: 10 }, async () => {
      for (const i of next) {
        const version = await served(i % 2 === 0 ? {} : { "idempotency-key": crypto.randomUUID() });
        if (version === NEW) toNew++;
        else expect(version).toBe(old);
      }
    }),
  );
  // Five standard deviations: one run in a million is outside.
  const deviation = Math.sqrt(total * 0.1 * 0.9);
  expect(Math.abs(toNew - total * 0.1)).toBeLessThan(5 * deviation);
  const key = { "idempotency-key": "always-the-same" };
  const first = await create({ model: NAME }, key);
  expect(await create({ model: NAME }, key)).toMatchObject({ id: first.id, version: first.version });
  await cancel(first);
});

describe("an operator retires a version", () => {
  it("that has no share, and no jobs", async () => {
    await expect(vqd("retire", NAME, NEW)).rejects.toThrow(/gets 10% of the requests/);
    await vqd("promote", NAME, old);
    const waiting = await create({ version: NEW });
    // Jobs that were canceled before may still be there for a moment.
    const jobs = async (): Promise<number> => (await list(NEW))?.waiting ?? 0;
    await expect.poll(jobs, HEARD).toBeGreaterThan(0);
    await expect(vqd("retire", NAME, NEW)).rejects.toThrow(/[1-9]\d* of its jobs wait and 0 run/);
    await cancel(waiting);
    await expect.poll(() => list(NEW), HEARD).toMatchObject({ share: 0, waiting: 0, running: 0 });
    await vqd("retire", NAME, NEW);
    expect(await list(NEW)).toMatchObject({ retired: true, announcedAt: null, waiting: null });
  });

  it("and whoever asks for it is told so, even when it is announced again", async () => {
    await announce();
    await expect.poll(sharesOf, HEARD).toEqual({ [old]: 1 });
    const explicit = await request(test, "/v1/predictions", { version: NEW, input: { prompt: "a" } });
    expect(explicit.status).toBe(422);
    expect(await explicit.json()).toMatchObject({
      errors: [{ path: "version", message: expect.stringContaining("has been retired") as string }],
    });
    for (const path of [`${NAME}:${NEW}`, `${NAME}/versions/${NEW}`]) {
      const answer = await request(test, `/v1/models/${path}`);
      expect(answer.status).toBe(404);
      expect(await answer.json()).toMatchObject({
        detail: expect.stringContaining("has been retired") as string,
      });
    }
    expect(await served()).toBe(old);
  });

  it("and brings it back by promoting it, with its queues", async () => {
    await vqd("promote", NAME, NEW);
    await expect.poll(() => served(), HEARD).toBe(NEW);
    const created = await create();
    const next = `$JS.${API_DOMAIN}.API.CONSUMER.MSG.NEXT.${STREAMS.jobs}.${jobConsumer(NEW_KEY, "normal")}`;
    const pull = JSON.stringify({ batch: 1, expires: nanos(5_000) });
    const { data } = await worker.request(next, pull, { timeout: 10_000, noMux: true });
    expect(decodeJob(data).value).toMatchObject({ id: created.id, version: NEW });
    await cancel(created);
  });
});

it("two operators cannot overwrite each other unseen", async () => {
  const jsm = await jetstreamManager(operator);
  const [mine, theirs] = [await readRoute(jsm, NAME), await readRoute(jsm, NAME)];
  await writeRoute(jsm, theirs, withShares(theirs, [{ version: old, weight: 1 }]), "test");
  const late = writeRoute(jsm, mine, withShares(mine, [{ version: NEW, weight: 1 }]), "test");
  await expect(late).rejects.toThrow(RouteConflict);
  expect((await readRoute(jsm, NAME)).route?.shares).toEqual([{ version: old, weight: 1 }]);
});

it("what was decided can be read: when, by whom, and what has served since", async () => {
  const decisions = JSON.parse(await vqd("log", NAME, "--json")) as {
    at: string;
    by: string | null;
    route: { shares: { version: string }[]; retired: string[] };
  }[];
  const user = userInfo().username;
  const told = decisions.map(({ by, route }) => [
    by,
    route.shares.map(({ version }) => (version === old ? "old" : "new")).join(),
    route.retired.length,
  ]);
  // Before these: that of the hub, and of the stack if another version was first.
  expect(told.slice(-6)).toEqual([
    [user, "new", 0],
    [user, "old,new", 0],
    [user, "old", 0],
    [user, "old", 1],
    [user, "new", 0],
    ["test", "old", 0],
  ]);
  const times = decisions.map(({ at }) => at);
  expect(times).toEqual(times.toSorted());
  expect(await vqd("log", "vqd/unknown")).toBe("nothing has been decided about vqd/unknown\n");
});

it("a version that nobody knows gets no share, unless by force", async () => {
  await expect(vqd("promote", NAME, "0123456")).rejects.toThrow(/no version of .* begins with 0123456/);
  const unknown = "01".repeat(32);
  await expect(vqd("promote", NAME, unknown)).rejects.toThrow(
    /no worker has announced version 010101.*--force/,
  );
  await vqd("split", NAME, `${unknown}=1`, `${old}=1`, "--force");
  // As long as it is not announced, the others serve.
  await expect.poll(sharesOf, HEARD).toEqual({ [old]: 0.5, [NEW]: 0 });
  expect(await served()).toBe(old);
  await vqd("promote", NAME, unknown, "--force");
  const refused = () => request(test, "/v1/predictions", { model: NAME, input: { prompt: "a" } });
  await expect.poll(async () => (await refused()).status, HEARD).toBe(503);
  expect(await (await refused()).json()).toMatchObject({
    code: "no_worker",
    detail: expect.stringMatching(/version 010101010101 of .*vqd models promote/) as string,
  });
});
