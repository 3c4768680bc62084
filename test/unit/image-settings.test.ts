// The settings in PNG files: as libvips reads them, as AUTOMATIC1111 does, and that nothing else of a file changes.

import { crc32 } from "node:zlib";
import sharp from "sharp";
import { describe, expect, it } from "vitest";
import { type ImageSettings, parametersOf, withSettings } from "@vqd/shared/metadata/settings.ts";
import { withTexts } from "@vqd/shared/metadata/png.ts";
import { REFERENCE_SAMPLER } from "@vqd/shared/sampling/sampler.ts";

const SETTINGS: ImageSettings = {
  ...REFERENCE_SAMPLER,
  prompt: "a fox, flat style",
  negativePrompt: null,
  numInferenceSteps: 25,
  guidanceScale: 1,
  truncationRate: 1,
  seed: "18446744073709551615",
  place: 0,
  width: 3,
  height: 2,
  model: "vqd/scenes",
  version: "0123456789abcdef".repeat(4),
};

const PIXELS = Uint8Array.from({ length: 18 }, (_, i) => i * 14);
const png = async (): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(
    await sharp(PIXELS, { raw: { width: 3, height: 2, channels: 3 } })
      .png()
      .toBuffer(),
  );

interface Chunk {
  readonly type: string;
  readonly data: Buffer;
}

/** The chunks of a file, each with a valid checksum, and nothing beside them. */
function chunksOf(file: Uint8Array): Chunk[] {
  const bytes = Buffer.from(file);
  const chunks: Chunk[] = [];
  for (let at = 8; at < bytes.length;) {
    const end = at + 8 + bytes.readUInt32BE(at);
    expect(bytes.readUInt32BE(end)).toBe(crc32(bytes.subarray(at + 4, end)));
    chunks.push({ type: bytes.toString("latin1", at + 4, at + 8), data: bytes.subarray(at + 8, end) });
    at = end + 4;
  }
  return chunks;
}

describe("a PNG file with settings", () => {
  it("has text that libvips reads, and the same pixels", async () => {
    const plain = await png();
    const file = withSettings(plain, SETTINGS);
    const { comments, xmp } = await sharp(file).metadata();
    expect(comments).toContainEqual({ keyword: "parameters", text: parametersOf(SETTINGS) });
    expect(xmp?.toString()).toContain("a fox, flat style");
    expect(await sharp(file).raw().toBuffer()).toEqual(Buffer.from(PIXELS));
    const types = chunksOf(file).map(({ type }) => type);
    expect(types.slice(0, 3)).toEqual(["IHDR", "tEXt", "iTXt"]);
    expect(types.slice(3)).toEqual(
      chunksOf(plain)
        .map(({ type }) => type)
        .slice(1),
    );
  });

  it.each([
    ["Latin-1", "café\nnoir", "tEXt", "café\nnoir"],
    ["other scripts", "狐狸 🦊", "iTXt", "狐狸 🦊"],
    ["control characters", "a\r\u0007b\0c", "iTXt", "a\r\u0007bc"],
    ["a null character", "a\0b", "tEXt", "ab"],
    ["half a character", "a\ud83e", "iTXt", "a\ufffd"],
    ["markup", `<a & "b">]]></rdf:li>`, "tEXt", `<a & "b">]]></rdf:li>`],
  ])("holds %s", async (_, prompt, type, expected) => {
    const file = withSettings(await png(), { ...SETTINGS, prompt });
    const chunk = chunksOf(file).find(({ data }) => data.toString("latin1").startsWith("parameters\0"));
    expect(chunk?.type).toBe(type);
    const text = chunk?.data
      .subarray(type === "tEXt" ? 11 : 15)
      .toString(type === "tEXt" ? "latin1" : "utf8");
    expect(text?.split("\nSteps:")[0]).toBe(expected);
    // XMP is well-formed: every tag that is opened is closed, and the text is escaped.
    const xmp = (await sharp(file).metadata()).xmp?.toString() ?? "";
    expect(xmp.match(/<rdf:li[ >]/g)).toHaveLength(1);
    expect(xmp.match(/<\/rdf:li>/g)).toHaveLength(1);
    // oxlint-disable-next-line no-control-regex -- control characters are what it is about
    expect(xmp).not.toMatch(/[\u0000-\u0008\u000b\u000c\u000e-\u001f]/);
  });

  it("is left alone if it is none", () => {
    for (const bytes of [[], [0x89, 0x50], Array.from({ length: 100 }, (_, i) => i)]) {
      const file = Uint8Array.from(bytes);
      expect(withTexts(file, { a: "b" })).toBe(file);
    }
  });
});

/** As in AUTOMATIC1111's `parse_generation_parameters` (modules/infotext_utils.py). */
const A1111_PARAMETER = /\s*(\w[\w \-/]+):\s*("(?:\\.|[^\\"])+"|[^,]*)(?:,|$)/g;

describe("the parameters", () => {
  it("are read by AUTOMATIC1111: prompt, negative prompt, and settings by name", () => {
    const lines = parametersOf({
      ...SETTINGS,
      negativePrompt: "hat",
      guidanceScale: 2.5,
      truncationRate: 0.86,
      order: "confidence",
      scheduler: "strided",
      temperature: 0.5,
      place: 2,
    }).split("\n");
    expect(lines.slice(0, 2)).toEqual(["a fox, flat style", "Negative prompt: hat"]);
    const read = [...(lines[2] ?? "").matchAll(A1111_PARAMETER)].map(([, name, value]) => [name, value]);
    expect(Object.fromEntries(read)).toEqual({
      Steps: "25",
      Sampler: "confidence",
      "Schedule type": "strided",
      "CFG scale": "2.5",
      Seed: "18446744073709551615",
      Size: "3x2",
      "Model hash": "0123456789",
      Model: "vqd/scenes",
      Temperature: "0.5",
      "Truncation rate": "0.86",
      "Batch pos": "2",
      Version: "vqd",
    });
  });

  it("leave out what is neutral", () => {
    expect(parametersOf(SETTINGS)).toBe(
      "a fox, flat style\nSteps: 25, Sampler: posterior, Schedule type: reference, CFG scale: 1, " +
        "Seed: 18446744073709551615, Size: 3x2, Model hash: 0123456789, Model: vqd/scenes, Version: vqd",
    );
  });
});
