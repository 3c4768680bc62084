// Sixty and more image files of strangers, through the API to a real worker: each is read right, or refused with an error that names
// its field; edge and worker go on as before.

import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { hostileFiles } from "../support/hostile-images.ts";
import { request } from "./support/client.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const SIDE = 16;
/** Files under way at once. */
const AT_ONCE = 4;

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({ model: TINY_MODEL });
});
afterAll(() => test.stop());

interface Answer {
  readonly tokens: Buffer | undefined;
  /** What the answer says of which field. */
  readonly error: string;
}

const dataUrl = (bytes: Buffer): string => `data:image/png;base64,${bytes.toString("base64")}`;

/** The image's tokens, or why it has none. */
async function encode(input: object): Promise<Answer> {
  const response = await request(
    test,
    "/v1/predictions",
    { input: { strength: 0, output_format: "tokens", ...input } },
    { headers: { prefer: "wait=60" } },
  );
  const body = (await response.json()) as {
    status: string;
    output: string[] | null;
    error: string | null;
    error_code: string | null;
    errors?: { path: string; message: string }[];
  };
  if (response.status === 422) {
    const [error] = body.errors ?? [];
    expect(error?.path).toMatch(/^input\.(image|mask)$/);
    return { tokens: undefined, error: error?.message ?? "" };
  }
  expect(response.status).toBe(201);
  if (body.status !== "succeeded") {
    expect([body.status, body.error_code]).toEqual(["failed", "invalid_input"]);
    return { tokens: undefined, error: body.error ?? "" };
  }
  const file = await fetch(body.output?.[0] ?? "");
  return { tokens: Buffer.from(await file.arrayBuffer()), error: "" };
}

/** What a viewer shows of the file, as the simplest of files. */
const shown = (bytes: Buffer): Promise<Buffer> =>
  sharp(bytes)
    .autoOrient()
    .resize(SIDE, SIDE, { fit: "cover", position: "centre" })
    .flatten({ background: "white" })
    .toColourspace("srgb")
    .png()
    .toBuffer();

const plain = async (): Promise<Buffer> => {
  const { output } = (await (
    await request(
      test,
      "/v1/predictions",
      { input: { prompt: "a", seed: 1, num_inference_steps: 4 } },
      { headers: { prefer: "wait=60" } },
    )
  ).json()) as { output: string[] };
  return Buffer.from(await (await fetch(output[0] ?? "")).arrayBuffer());
};

it("are read right or refused, and do no harm", async () => {
  const before = await plain();
  const files = await hostileFiles();
  expect(files.length).toBeGreaterThanOrEqual(60);
  const queue = files.values();
  const outcomes = new Map<string, string>();
  const take = async (): Promise<void> => {
    for (const { name, bytes, refused, either } of queue) {
      const { tokens, error } = await encode({ image: dataUrl(bytes) });
      outcomes.set(name, error === "" ? "read" : error);
      if (either === true) continue;
      if (refused !== undefined) {
        expect([name, error]).toEqual([name, expect.stringMatching(refused)]);
      } else {
        expect([name, error]).toEqual([name, ""]);
        const simple = await encode({ image: dataUrl(await shown(bytes)) });
        expect([name, tokens?.equals(simple.tokens ?? Buffer.alloc(0))]).toEqual([name, true]);
      }
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, take));
  expect(outcomes.size).toBe(files.length);
  // Nothing had to be tried twice, as after the death of a worker.
  const starts = test.lines.filter(({ text }) => text.startsWith("job started"));
  expect(starts.length).toBeGreaterThan(60);
  expect(starts.filter(({ text }) => !text.includes("attempt=1 "))).toEqual([]);
  expect((await plain()).equals(before)).toBe(true);
});

it("as masks are refused by their own name", async () => {
  const image = dataUrl(await shown(before()));
  const mask = (width: number, channels: 3 | 4 = 3) =>
    sharp({ create: { width, height: SIDE, channels, background: "white" } })
      .png()
      .toBuffer();
  for (const [given, channel, message] of [
    [await mask(SIDE + 1), "luminance", /^mask must have the size of the image, 16x16 pixels, not 17x16/],
    [await mask(SIDE), "alpha", /^mask has no alpha channel/],
    [(await mask(SIDE)).subarray(0, 60), "luminance", /^mask (must be|cannot be decoded)/],
    [Buffer.from("<svg/>"), "luminance", /must be a PNG/],
    [await mask(SIDE, 4), "alpha", /^$/],
  ] as const) {
    const { error } = await encode({ image, mask: dataUrl(given), mask_channel: channel });
    expect(error).toMatch(message);
  }
});

/** Any file that can be shown. */
const before = (): Buffer =>
  Buffer.from(
    "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==",
    "base64",
  );
