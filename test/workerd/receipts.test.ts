// Receipts of images as the service signs them: what they say, and when there are none.

import { env } from "cloudflare:workers";
import { createExecutionContext, runDurableObjectAlarm, runInDurableObject } from "cloudflare:test";
import { afterAll, beforeAll, describe, expect, it, vi } from "vitest";
import { receiptFileSchema, receiptKeysSchema } from "../../edge/api-docs/answers.ts";
import { createApp } from "../../edge/app.ts";
import { decodeBase64, encodeBase64 } from "../../edge/util/bytes.ts";
import { decodeTokens } from "../../shared/codec.ts";
import type { Job } from "../../shared/job.ts";
import { chainOf, openReceipt } from "../../shared/receipts/receipt.ts";
import { call, hubs, KEY, ORIGIN, outputEvent, PlayedWorker, type Said, stepEvent } from "./support.ts";

const STEPS = 3;
const IMAGES = 2;

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(() => worker.close());

const started = (numericsId = "played-1"): [Said] => [
  { type: "started", worker: "played", numericsId, resumedFrom: 0, total: STEPS },
];
/** Of images whose tokens are 8 bytes each. */
const beginning = (step = 0, held: string | null = "0110"): [Said, Uint8Array] => [
  { type: "beginning", step, images: IMAGES, held },
  Uint8Array.from({ length: 8 * IMAGES }, (_, i) => (i % 2 === 0 ? i : 0)),
];
const steps = (from = 1) =>
  Array.from({ length: STEPS + 1 - from }, (_, i) => stepEvent(from + i, STEPS, IMAGES));
const end = (): [Said, Uint8Array?][] => [
  outputEvent(0),
  outputEvent(1),
  [{ type: "succeeded", predictSeconds: 0.001 }],
];
/** With an attempt for each event that is not of the first. */
type Played = [said: Said, attachment?: Uint8Array | undefined, attempt?: number];
const WHOLE: readonly Played[] = [started(), beginning(), ...steps(), ...end()];

const create = async (input: object = {}): Promise<Job> => {
  const json = {
    input: { prompt: "a red apple", num_inference_steps: STEPS, seed: 5, num_outputs: IMAGES, ...input },
  };
  const { id } = await (await call("/v1/predictions", { json })).json<{ id: string }>();
  return worker.take({ id });
};
const statusOf = async (id: string): Promise<string> =>
  (await (await call(`/v1/predictions/${id}`)).json<{ status: string }>()).status;
async function played(events: readonly Played[], status = "succeeded", input: object = {}): Promise<string> {
  const job = await create(input);
  for (const [said, attachment, attempt] of events) await worker.say(job, said, attachment, attempt);
  await expect.poll(() => statusOf(job.id)).toBe(status);
  return job.id;
}

const receiptOf = (id: string, query = "", key = KEY): Promise<Response> =>
  call(`/v1/predictions/${id}/receipt${query}`, { key });
async function refused(response: Response): Promise<unknown[]> {
  const { code, detail } = await response.json<{ code: string; detail: string }>();
  return [response.status, code, detail];
}
async function publicKey(): Promise<CryptoKey> {
  const response = await call("/.well-known/vqd-receipts.json", { key: null });
  expect(response.status).toBe(200);
  const { keys } = receiptKeysSchema.parse(await response.json());
  expect(keys).toHaveLength(1);
  return crypto.subtle.importKey("jwk", keys[0] as JsonWebKey, "Ed25519", true, ["verify"]);
}
async function opened(response: Response) {
  expect(response.status).toBe(200);
  expect(response.headers.get("cache-control")).toBe("no-store");
  const { receipt: jws, states } = receiptFileSchema.parse(await response.json());
  const receipt = await openReceipt(jws, await publicKey());
  const tokens = states.map((state) => decodeTokens(decodeBase64(state) ?? new Uint8Array()));
  expect(receipt.chain).toEqual(await chainOf(tokens));
  return { receipt, tokens, jws };
}

describe("a receipt", () => {
  it("says what the image was made with, and its tokens after every step", async () => {
    const id = await played(WHOLE);
    for (const index of [0, 1]) {
      const { receipt, tokens, jws } = await opened(await receiptOf(id, `?index=${index}`));
      expect(receipt).toMatchObject({
        v: 1,
        numericsId: "played-1",
        negativePrompt: null,
        numInferenceSteps: STEPS,
        seed: 5,
        place: index,
        held: "0110",
        firstStep: 0,
        order: "confidence",
        remasking: 0,
      });
      expect(receipt.prompt[0]).toBe(49_406);
      const first = index * 8;
      expect(tokens.map((state) => Array.from(state))).toEqual([
        [first, first + 2, first + 4, first + 6],
        ...[1, 2, 3].map((step) => new Array<number>(4).fill(step * 257)),
      ]);
      const header = JSON.parse(atob(jws.split(".")[0] ?? "")) as { kid: string };
      expect(header).toEqual({ alg: "EdDSA", typ: "vqd-receipt+jwt", kid: expect.any(String) as string });
    }
    const [first, zero] = await Promise.all([receiptOf(id), receiptOf(id, "?index=0")]);
    expect(await first.text()).toBe(await zero.text());
  });

  it("has each image's own seed and place", async () => {
    const id = await played(WHOLE, "succeeded", { seed: null, seeds: [8, 8] });
    const { receipt } = await opened(await receiptOf(id, "?index=1"));
    expect([receipt.seed, receipt.place]).toEqual([8, 1]);
  });

  it("begins after the steps that a source has spared", async () => {
    const id = await played([
      started(),
      beginning(1, null),
      stepEvent(1, STEPS, IMAGES),
      ...steps(2),
      ...end(),
    ]);
    const { receipt, tokens } = await opened(await receiptOf(id));
    expect([receipt.firstStep, receipt.held, tokens.length]).toEqual([1, null, 3]);
  });

  it("is of the attempt that made the image", async () => {
    const again: Played[] = [started("played-2"), beginning(0, null), ...steps(), ...end()];
    const id = await played([
      started(),
      beginning(),
      stepEvent(1, STEPS, IMAGES),
      ...again.map(([said, attachment]): Played => [said, attachment, 2]),
    ]);
    const { receipt } = await opened(await receiptOf(id));
    expect([receipt.numericsId, receipt.held]).toEqual(["played-2", null]);
  });
});

describe("there is none", () => {
  it("for others, and of images that do not exist", async () => {
    const id = await played(WHOLE);
    expect(await refused(await receiptOf(id, "", "other-key"))).toEqual([
      404,
      "not_found",
      "the prediction does not exist",
    ]);
    expect((await receiptOf("0".repeat(26))).status).toBe(404);
    expect((await call(`/v1/predictions/${id}/receipt`, { key: null })).status).toBe(401);
    for (const index of [String(IMAGES), "-1", "a", "", "0x1", "99999"]) {
      const [status, code, detail] = await refused(await receiptOf(id, `?index=${index}`));
      expect([status, code]).toEqual([422, "invalid_input"]);
      expect(detail).toContain("index");
    }
  });

  it.each<[string, string, readonly Played[]]>([
    ["what it began with is not recorded", "succeeded", [started(), ...steps(), ...end()]],
    [
      "step 2 is not recorded",
      "succeeded",
      [started(), beginning(), ...steps().slice(0, 1), ...steps(3), ...end()],
    ],
    ["only predictions that have succeeded", "canceled", [started(), beginning(), [{ type: "canceled" }]]],
    [
      "it has made no step",
      "succeeded",
      [started(), beginning(STEPS, null), stepEvent(STEPS, STEPS, IMAGES), ...end()],
    ],
    [
      "what it began with is not recorded",
      "succeeded",
      // The second attempt is of a worker that does not say.
      [started(), beginning(), ...[started("old"), ...steps(), ...end()].map((e): Played => [e[0], e[1], 2])],
    ],
  ])("and the answer says why: %s", async (reason, status, events) => {
    const id = await played(events, status);
    const [code, name, detail] = await refused(await receiptOf(id));
    expect([code, name]).toEqual([409, "no_receipt"]);
    expect(detail).toContain(reason);
  });

  it("before the end, nor after the steps have been deleted", async () => {
    const job = await create();
    expect(await refused(await receiptOf(job.id))).toEqual([
      409,
      "no_receipt",
      "the prediction has not ended yet",
    ]);
    for (const [said, attachment] of WHOLE) await worker.say(job, said, attachment);
    await expect.poll(() => statusOf(job.id)).toBe("succeeded");
    const hub = hubs.ofPrediction(job.id);
    const kept = () =>
      runInDurableObject(
        hub,
        (_, { storage }) =>
          storage.sql.exec("SELECT * FROM beginnings WHERE prediction_id = ?", job.id).toArray().length,
      );
    expect(await kept()).toBe(1);
    await runInDurableObject(hub, (_, { storage }) => {
      storage.sql.exec("UPDATE predictions SET completed_at = completed_at - 901000 WHERE id = ?", job.id);
    });
    await runDurableObjectAlarm(hub);
    expect(await kept()).toBe(0);
    const [status, code, detail] = await refused(await receiptOf(job.id));
    expect([status, code]).toEqual([409, "no_receipt"]);
    expect(detail).toContain("are kept for 900 s");
  });

  it("once the prediction is deleted", async () => {
    const id = await played(WHOLE);
    await (await call(`/v1/predictions/${id}`, { method: "DELETE" })).body?.cancel();
    expect((await receiptOf(id)).status).toBe(404);
    const left = await runInDurableObject(hubs.ofPrediction(id), (_, { storage }) =>
      storage.sql.exec("SELECT * FROM beginnings WHERE prediction_id = ?", id).toArray(),
    );
    expect(left).toEqual([]);
  });

  it("without a key, which is said", async () => {
    const get = (path: string, RECEIPT_KEY: string): Promise<Response> => {
      const request = new Request(`${ORIGIN}${path}`, { headers: { authorization: `Bearer ${KEY}` } });
      return Promise.resolve(createApp().fetch(request, { ...env, RECEIPT_KEY }, createExecutionContext()));
    };
    for (const path of ["/.well-known/vqd-receipts.json", `/v1/predictions/${"0".repeat(26)}/receipt`]) {
      expect(await refused(await get(path, ""))).toEqual([
        404,
        "not_found",
        "this service signs no receipts: no RECEIPT_KEY is configured",
      ]);
    }
    const lines = vi.spyOn(console, "log").mockImplementation(() => {});
    const secret = encodeBase64(new Uint8Array(48).fill(7));
    for (const wrong of ["x", `-----BEGIN PRIVATE KEY-----\n${secret}\n-----END PRIVATE KEY-----\n`]) {
      const [status, code, detail] = await refused(await get("/.well-known/vqd-receipts.json", wrong));
      expect([status, code]).toEqual([503, "not_configured"]);
      expect(detail).toContain("RECEIPT_KEY: must be an Ed25519 key");
      expect(`${String(detail)} ${JSON.stringify(lines.mock.calls)}`).not.toContain(secret);
    }
    lines.mockRestore();
  });
});

describe("a beginning that contradicts the prediction", () => {
  it.each<[string, Said, number]>([
    ["has too few tokens", { type: "beginning", step: 0, images: IMAGES, held: null }, 8],
    ["has another number of images", { type: "beginning", step: 0, images: 1, held: null }, 8],
    ["holds more than there is", { type: "beginning", step: 0, images: IMAGES, held: "01101" }, 16],
    ["is after the last step", { type: "beginning", step: STEPS + 1, images: IMAGES, held: null }, 16],
  ])("ends it if it %s", async (_, said, length) => {
    await played([started(), [said, new Uint8Array(length)]], "failed");
  });
});
