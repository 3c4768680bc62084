// vqd encode, decode and generate with something to start from, as users run them.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import sharp from "sharp";
import { beforeAll, describe, expect, it } from "vitest";
import { decodeTokensFile, encodeTokensFile } from "../../shared/editing/tokens-file.ts";
import { vqd } from "../support/cli.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

let dir: string;
const at = (name: string): string => join(dir, name);
const run = (...args: string[]) => vqd(...args, "--model", TINY_CHECKPOINT, "--cache", at("cache"));
const generate = (out: string, ...args: string[]) =>
  run("generate", "red apple", "--seed", "3", "--steps", "6", "--out", at(out), ...args);

beforeAll(async () => {
  dir = await temporaryFolder();
  const data = Uint8Array.from({ length: 3 * 32 * 32 }, (_, i) => (i * 5) % 256);
  await sharp(data, { raw: { width: 32, height: 32, channels: 3 } })
    .png()
    .toFile(at("photo.png"));
  const white = await sharp({ create: { width: 12, height: 32, channels: 3, background: "white" } })
    .png()
    .toBuffer();
  await sharp({ create: { width: 32, height: 32, channels: 3, background: "black" } })
    .composite([{ input: white, left: 0, top: 0 }])
    .png()
    .toFile(at("mask.png"));
});

const pixels = (name: string): Promise<Buffer> => sharp(at(name)).removeAlpha().raw().toBuffer();

describe("tokens", () => {
  it.each(["vqt", "json"])("in a .%s file are decoded to the image that encode shows", async (ending) => {
    const tokens = at(`tokens.${ending}`);
    expect(await run("encode", at("photo.png"), "--out", at("seen.png"), "--tokens", tokens)).toMatchObject({
      code: 0,
    });
    const { code, stdout } = await run("decode", tokens, "--out", at("again.png"));
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${at("again.png")}\n` });
    expect(await readFile(at("again.png"))).toEqual(await readFile(at("seen.png")));
  });

  it("of generated images are those of the images", async () => {
    expect(await generate("made.png", "--num-images", "2")).toMatchObject({ code: 0 });
    const made = await generate("made.vqt", "--num-images", "2");
    expect(made.stdout).toBe(`${at("made-0.vqt")}\n${at("made-1.vqt")}\n`);
    await run("decode", at("made-1.vqt"), "--out", at("decoded.png"));
    expect(await pixels("decoded.png")).toEqual(await pixels("made-1.png"));
  });

  it("that are none, or another model's, are refused by name", async () => {
    await writeFile(at("no.vqt"), "VQDT");
    const grid = { height: 8, width: 8, tokens: new Uint16Array(64).fill(128) };
    await writeFile(at("other.vqt"), encodeTokensFile({ version: "ab".repeat(32), ...grid }, 129));
    await generate("mine.vqt");
    const { version } = decodeTokensFile(await readFile(at("mine.vqt")));
    await writeFile(at("masked.vqt"), encodeTokensFile({ version, ...grid }, 129));
    await writeFile(
      at("small.vqt"),
      encodeTokensFile({ version, height: 1, width: 2, tokens: new Uint16Array(2) }, 129),
    );
    for (const [file, reason] of [
      ["no.vqt", "not a file of tokens: it is cut off"],
      ["photo.png", "not a file of tokens: it does not begin with VQDT"],
      ["other.vqt", "is of model version abababababab, not"],
      ["masked.vqt", "has masked tokens"],
      ["small.vqt", "has other than 8 rows of 8 tokens"],
      ["none.vqt", "ENOENT"],
    ] as const) {
      const { code, stderr } = await run("decode", at(file), "--out", at("x.png"));
      expect(code).toBe(2);
      expect(stderr).toContain(`${at(file)}: ${reason}`);
    }
  });
});

describe("vqd generate", () => {
  it("edits what the mask shows, and leaves the other pixels of the image as they are", async () => {
    await run("encode", at("photo.png"), "--out", at("seen.png"), "--tokens", at("photo.vqt"));
    const args = ["--image", at("photo.png"), "--mask", at("mask.png"), "--feather", "1"];
    expect(await generate("edited.png", ...args)).toMatchObject({ code: 0 });
    const [edited, photo] = [
      await pixels("edited.png"),
      await sharp(at("photo.png")).resize(16, 16).raw().toBuffer(),
    ];
    const isMade = (i: number): boolean => Math.floor(i / 3) % 16 < 6;
    expect(edited.every((value, i) => isMade(i) || value === photo[i])).toBe(true);
    expect(edited.some((value, i) => value !== photo[i])).toBe(true);
    expect((await readFile(at("edited.png"), "latin1")).includes("red apple")).toBe(true);
  });

  it("varies an image or its tokens to the same result, and not at all with a strength of 0", async () => {
    await run("encode", at("photo.png"), "--out", at("seen.png"), "--tokens", at("photo.vqt"));
    for (const [name, from] of [
      ["image", ["--image", at("photo.png")]],
      ["tokens", ["--from-tokens", at("photo.vqt")]],
    ] as const) {
      expect(await generate(`${name}.png`, ...from, "--strength", "0.5")).toMatchObject({ code: 0 });
      expect(await generate(`${name}-0.png`, ...from, "--strength", "0")).toMatchObject({ code: 0 });
      expect(await pixels(`${name}-0.png`)).toEqual(await pixels("seen.png"));
    }
    expect(await readFile(at("tokens.png"))).toEqual(await readFile(at("image.png")));
    expect(await pixels("image.png")).not.toEqual(await pixels("seen.png"));
    expect(await readFile(at("image.png"), "latin1")).toContain("Denoising strength: 0.5");
  });

  it.each<[number, RegExp, string[]]>([
    [2, /--mask needs --image or --from-tokens/, ["--mask", "m.png"]],
    [2, /--strength needs --image or --from-tokens/, ["--strength", "1"]],
    [2, /--strength must be a number from 0 to 1/, ["--image", "a.png", "--strength", "2"]],
    [2, /--feather needs --image and a mask/, ["--image", "a.png", "--feather", "1"]],
    [
      2,
      /--feather must be an integer from 0 to 64/,
      ["--image", "a.png", "--mask", "m.png", "--feather", "65"],
    ],
    [2, /--mask-channel must be one of luminance, alpha/, ["--image", "a.png", "--mask-channel", "red"]],
    [
      2,
      /--image cannot be given together with --from-tokens/,
      ["--image", "a.png", "--from-tokens", "a.vqt"],
    ],
    [2, /--from-tokens needs --strength or --from-step/, ["--from-tokens", "a.vqt"]],
    [2, /--from-step needs --from-tokens, and no --strength/, ["--from-step", "1"]],
    [2, /--image: ENOENT/, ["--image", "/no/such.png"]],
    [
      1,
      /image must be a PNG, JPEG, WebP, GIF, TIFF or AVIF file/,
      ["--image", join(TINY_CHECKPOINT, "model_index.json")],
    ],
  ])("exits with %d and one line %j for %j", async (code, message, args) => {
    const result = await generate("x.png", ...args);
    expect(result).toMatchObject({ code, stdout: "" });
    expect(result.stderr).toMatch(message);
    expect(result.stderr).toMatch(/^vqd: [^\n]+\n$/);
  });
});
