// Edits, variations, forks and tokens through the API, made by a real worker: what they have in common with what they start from.

import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { decodeTokensFile } from "@vqd/shared/editing/tokens-file.ts";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { allEvents, type PredictionBody, request } from "./support/client.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const SIDE = 16;
const STEPS = 8;
const RUN = { prompt: "a red apple", num_inference_steps: STEPS, guidance_scale: 3, seed: 11 };

let test: TestStack;
beforeAll(async () => {
  // Files do not last: tokens do.
  test = await startTestStack({ model: TINY_MODEL, edgeEnv: { FILE_RETENTION_SECONDS: "8" } });
});
afterAll(() => test.stop());

async function make(input: object): Promise<PredictionBody> {
  const headers = { prefer: "wait=60" };
  const response = await request(test, "/v1/predictions", { input }, { headers });
  const body = (await response.json()) as PredictionBody;
  expect([response.status, body.status, body.error]).toEqual([201, "succeeded", null]);
  return body;
}
async function stepsUsed(): Promise<number> {
  const { data } = (await (await request(test, "/v1/usage")).json()) as { data: { steps: number }[] };
  return data.reduce((sum, { steps }) => sum + steps, 0);
}
async function bytesOf(url: string | undefined): Promise<Buffer> {
  const response = await fetch(url ?? "");
  expect(response.status).toBe(200);
  return Buffer.from(await response.arrayBuffer());
}
const outputOf = async ({ output }: PredictionBody, index = 0): Promise<Buffer> => bytesOf(output?.[index]);
const pixelsOf = (image: Buffer): Promise<Buffer> => sharp(image).removeAlpha().raw().toBuffer();
const dataUrl = (bytes: Buffer, type = "image/png"): string =>
  `data:${type};base64,${bytes.toString("base64")}`;

const raw = { width: SIDE, height: SIDE, channels: 3 } as const;
/** Noise, so that no two pixels are alike. */
const source = (): Promise<Buffer> =>
  sharp(
    Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, i) => (i * 97 + (i >> 3) * 31) % 256),
    { raw },
  )
    .png()
    .toBuffer();
/** White on the right. */
const rightHalf = (): Promise<Buffer> =>
  sharp(
    Uint8Array.from({ length: 3 * SIDE * SIDE }, (_, i) => (Math.floor(i / 3) % SIDE < SIDE / 2 ? 0 : 255)),
    { raw },
  )
    .png()
    .toBuffer();

describe("an edit", () => {
  it("keeps the pixels outside of the mask, bit for bit, and makes the others anew", async () => {
    const image = await source();
    const made = await make({ ...RUN, image: dataUrl(image), mask: dataUrl(await rightHalf()), feather: 0 });
    const [before, after] = [await pixelsOf(image), await pixelsOf(await outputOf(made))];
    let changed = 0;
    for (let i = 0; i < before.length; i++) {
      const isLeft = Math.floor(i / 3) % SIDE < SIDE / 2;
      if (isLeft) expect([i, after[i]]).toEqual([i, before[i]]);
      else if (after[i] !== before[i]) changed++;
    }
    expect(changed).toBeGreaterThan(100);
    // The same from its record.
    expect(await pixelsOf(await outputOf(await make(made.input)))).toEqual(after);
  });

  it("may start from what was made here, or lies elsewhere", async () => {
    const first = await make({ ...RUN, embed_settings: false });
    const own = await make({ image: first.output?.[0], strength: 0.5, seed: 3 });
    const file = await outputOf(first);
    const server = createServer((_, response) => response.end(file)).listen(0, "127.0.0.1");
    await new Promise((resolve) => server.once("listening", resolve));
    const { port } = server.address() as AddressInfo;
    const elsewhere = await make({ image: `http://127.0.0.1:${port}/a`, strength: 0.5, seed: 3 });
    server.close();
    expect(await pixelsOf(await outputOf(elsewhere))).toEqual(await pixelsOf(await outputOf(own)));
    const stronger = await make({ image: dataUrl(file), strength: 1, seed: 3 });
    expect(await pixelsOf(await outputOf(stronger))).not.toEqual(await pixelsOf(await outputOf(own)));
  });

  it("whose file cannot be decoded fails with the field's name", async () => {
    const image = (await source()).subarray(0, 100);
    const headers = { prefer: "wait=60" };
    const response = await request(
      test,
      "/v1/predictions",
      { input: { ...RUN, image: dataUrl(image) } },
      { headers },
    );
    expect(await response.json()).toMatchObject({
      status: "failed",
      error_code: "invalid_input",
      error: expect.stringMatching(/^image /) as string,
    });
    const form = new FormData();
    form.append("image", new Blob([new Uint8Array(await source())]), "a.png");
    form.append(
      "mask",
      new Blob([
        await sharp(await rightHalf())
          .resize(8, 8)
          .png()
          .toBuffer(),
      ]),
      "m.png",
    );
    form.append("prompt", "a");
    const edit = await fetch(`${test.url}/v1/images/edits`, {
      method: "POST",
      body: form,
      headers: { authorization: `Bearer ${test.apiKey}` },
    });
    expect([edit.status, await edit.json()]).toMatchObject([400, { error: { param: "mask" } }]);
  });
});

describe("a fork", () => {
  it.each([0, 1, STEPS / 2, STEPS - 1, STEPS])("after step %d ends in the same files", async (step) => {
    const before = await make({ ...RUN, num_outputs: 2, remasking: 0.2 });
    const used = await stepsUsed();
    const fork = await make({ from: { prediction: before.id, step } });
    // Of its two images; what it was spared is not charged again.
    expect((await stepsUsed()) - used).toBe(2 * (STEPS - step));
    for (const index of [0, 1]) {
      expect((await outputOf(fork, index)).equals(await outputOf(before, index))).toBe(true);
    }
    expect(fork.input).toEqual({ ...before.input, from: { prediction: before.id, step } });
  });

  it("goes another way with another prompt, from the same state", async () => {
    const before = await make(RUN);
    const fork = await make({
      from: { prediction: before.id, step: 3 },
      prompt: "a green pear",
      guidance_scale: 8,
    });
    expect((await outputOf(fork)).equals(await outputOf(before))).toBe(false);
    const tokensAfter = async (id: string, step: number): Promise<unknown> =>
      (await allEvents(test, id))
        .filter(({ event }) => event === "step")
        .map(({ data }) => JSON.parse(data) as { step: number; tokens: string })
        .find((data) => data.step === step)?.tokens;
    const state = await tokensAfter(before.id, 3);
    expect(state).toEqual(expect.any(String));
    expect(await tokensAfter(fork.id, 3)).toBe(state);
  });

  it("of an edit holds what was held", async () => {
    const image = dataUrl(await source());
    const edits = [
      { image, mask: dataUrl(await rightHalf()) },
      // Opaque: nothing is held.
      {
        image: dataUrl(
          await sharp(await source())
            .ensureAlpha()
            .png()
            .toBuffer(),
        ),
        mask_channel: "alpha",
      },
      { image, mask_channel: "alpha" },
    ];
    for (const edit of edits) {
      const asTokens = { output_format: "tokens" };
      const before = await make({ ...RUN, ...edit, strength: 1, ...asTokens });
      const fork = await make({ from: { prediction: before.id, step: 5 } });
      expect((await outputOf(fork)).equals(await outputOf(before))).toBe(true);
      const again = await make({ from: { prediction: fork.id, step: 6 } });
      expect((await outputOf(again)).equals(await outputOf(before))).toBe(true);
    }
  });
});

describe("tokens", () => {
  it("make the same file again, after that has expired", async () => {
    const run = { ...RUN, embed_settings: false };
    const made = await make(run);
    const file = await outputOf(made);
    const tokens = await outputOf(await make({ ...RUN, output_format: "tokens" }));
    expect(decodeTokensFile(tokens)).toMatchObject({ height: 8, width: 8 });
    await expect
      .poll(async () => (await fetch(made.output?.[0] ?? "")).status, { timeout: 30_000 })
      .toBe(404);
    const decoded = await make({ tokens: dataUrl(tokens, "application/vnd.vqd.tokens") });
    expect((await outputOf(decoded)).equals(file)).toBe(true);
    const states = (await allEvents(test, made.id)).filter(({ event }) => event === "step");
    const last = JSON.parse(states.at(-1)?.data ?? "{}") as { tokens: string };
    expect((await outputOf(await make({ tokens: last.tokens }))).equals(file)).toBe(true);
    expect((await outputOf(await make({ from: { prediction: made.id, step: STEPS } }))).equals(file)).toBe(
      true,
    );
  });

  it("are what an image is encoded to", async () => {
    const image = dataUrl(await source());
    const encoded = await make({ image, strength: 0, output_format: "tokens" });
    const reconstructed = await make({ image, strength: 0, embed_settings: false });
    const decoded = await make({ tokens: encoded.output?.[0] });
    expect((await outputOf(decoded)).equals(await outputOf(reconstructed))).toBe(true);
  });
});
