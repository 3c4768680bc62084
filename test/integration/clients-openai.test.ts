// Settings that apps of OpenAI's API send, by the openai client and the AI SDK: other sizes, qualities, model names and styles.

import { createOpenAI } from "@ai-sdk/openai";
import { createOpenAICompatible } from "@ai-sdk/openai-compatible";
import { generateImage } from "ai";
import type OpenAI from "openai";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { generate, openaiOf, replicateOf, stream } from "./support/client-checks.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const MODEL = "vqd/checkpoint";
/** The model's own size, in pixels. */
const OWN = 16;

let test: TestStack;
let openai: OpenAI;
beforeAll(async () => {
  const edgeEnv = { MODEL_ALIASES: `gpt-image-1=${MODEL}, dall-e-3=${MODEL}` };
  test = await startTestStack({ model: TINY_MODEL, edgeEnv });
  openai = openaiOf(test);
});
afterAll(() => test.stop());

const imageOf = ({ data }: OpenAI.ImagesResponse): Buffer => Buffer.from(data?.[0]?.b64_json ?? "", "base64");
const sizeOf = async (image: Uint8Array): Promise<string> => {
  const { width, height } = await sharp(image).metadata();
  return `${width}x${height}`;
};
const settingsOfNewest = async (): Promise<Record<string, unknown>> =>
  (await replicateOf(test).predictions.list()).results[0]?.input as Record<string, unknown>;
/** Means of the three channels. */
const colours = async (image: Uint8Array): Promise<number[]> =>
  (await sharp(image).stats()).channels.map(({ mean }) => mean);

it("sizes other than the model's are the same image, resampled", async () => {
  const own = await generate(openai, { size: `${OWN}x${OWN}` });
  expect(own).not.toHaveProperty("resampled_from");
  for (const output_format of ["png", "webp", "jpeg"] as const) {
    const large = await generate(openai, { size: "1024x1024", output_format });
    expect(large).toMatchObject({ size: "1024x1024", resampled_from: `${OWN}x${OWN}` });
    const file = imageOf(large);
    expect(await sizeOf(file)).toBe("1024x1024");
    const means = await colours(file);
    for (const [channel, mean] of (await colours(imageOf(own))).entries()) {
      expect(Math.abs((means[channel] ?? Infinity) - mean)).toBeLessThan(3);
    }
    // As the API says: bicubic where it is enlarged.
    if (output_format !== "png") continue;
    const expected = await sharp(imageOf(own)).resize(1_024, 1_024, { kernel: "cubic" }).raw().toBuffer();
    expect((await sharp(file).raw().toBuffer()).equals(expected)).toBe(true);
  }
  const small = await generate(openai, { size: "8x8" });
  expect(await sizeOf(imageOf(small))).toBe("8x8");
});

it("a stream's partial images have the size too", async () => {
  const sizes: string[] = [];
  for await (const event of await stream(openai, { size: "64x64", partial_images: 2 })) {
    expect(event.size).toBe("64x64");
    sizes.push(await sizeOf(Buffer.from(event.b64_json, "base64")));
  }
  expect(sizes).toEqual(["64x64", "64x64", "64x64"]);
});

it("other proportions are refused with the nearest size that there is", async () => {
  const refused = (size: string) => expect(generate(openai, { size })).rejects;
  await refused("1536x1024").toMatchObject({
    status: 400,
    param: "size",
    message: expect.stringMatching(/1024x1024$/) as string,
  });
  await refused("1024x1792").toMatchObject({ message: expect.stringMatching(/1536x1536$/) as string });
});

it.each([
  ["low", "draft", "low"],
  ["medium", "fast", "medium"],
  ["high", "best", "high"],
  ["hd", "best", "high"],
  ["standard", "best", "high"],
  ["auto", "best", "high"],
] as const)("quality %s is the preset %s", async (quality, preset, answered) => {
  const settings = { num_inference_steps: undefined, guidance_scale: undefined };
  const answer = await generate(openai, { quality, ...settings });
  expect(answer.quality).toBe(answered);
  const byQuality = await settingsOfNewest();
  const byPreset = await generate(openai, { preset, ...settings });
  expect(await settingsOfNewest()).toEqual(byQuality);
  expect(imageOf(byPreset).equals(imageOf(answer))).toBe(true);
});

it.each(["gpt-image-1", "dall-e-3"])("%s is an alias", async (model) => {
  await generate(openai, { model });
  expect((await replicateOf(test).predictions.list()).results[0]?.model).toBe(MODEL);
  expect(await openai.models.retrieve(model)).toMatchObject({ id: MODEL });
  await expect(generate(openai, { model: `${model}-mini` })).rejects.toMatchObject({ status: 404 });
});

it("what has no effect is named, and what would change the image is refused", async () => {
  const plain = await generate(openai);
  const { data, response } = await openai.images
    .generate({ prompt: "a", style: "vivid", moderation: "low", background: "opaque", user: "someone" })
    .withResponse();
  expect(data).toMatchObject({ ignored: ["style", "moderation"], safety_identifier: "someone" });
  expect(response.headers.get("x-ignored-parameters")).toBe("style, moderation");
  expect(plain).not.toHaveProperty("ignored");
  const transparent = generate(openai, { background: "transparent" });
  await expect(transparent).rejects.toMatchObject({ status: 400, param: "background" });
});

it("the AI SDK's OpenAI provider makes images of its own settings", async () => {
  const provider = createOpenAI({ apiKey: test.apiKey, baseURL: `${test.url}/v1` });
  const { images } = await generateImage({
    model: provider.image("dall-e-3"),
    prompt: "a red apple",
    size: "512x512",
    n: 2,
    providerOptions: { openai: { quality: "hd", style: "natural" } },
  });
  expect(images).toHaveLength(2);
  for (const { uint8Array } of images) expect(await sizeOf(uint8Array)).toBe("512x512");
});

it("so does its provider for compatible services", async () => {
  const provider = createOpenAICompatible({ name: "vqd", apiKey: test.apiKey, baseURL: `${test.url}/v1` });
  const { image } = await generateImage({
    model: provider.imageModel(MODEL),
    prompt: "a red apple",
    size: "256x256",
    providerOptions: { vqd: { quality: "low", user: "someone", seed: 3 } },
  });
  expect(await sizeOf(image.uint8Array)).toBe("256x256");
  expect(await settingsOfNewest()).toMatchObject({ seed: 3, width: 256 });
});
