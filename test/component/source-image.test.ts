// Images that callers send: read as their viewers see them, or refused by name.

import sharp, { type Sharp } from "sharp";
import { describe, expect, it } from "vitest";
import { InvalidInputError } from "../../gpu-worker/pipeline/errors.ts";
import { SourceImage } from "../../gpu-worker/pipeline/editing/source-image.ts";

const SIZE = { width: 24, height: 16 };

/** Left half red, right half blue, the top row green; R, G, B or with alpha 0 in the lower half. */
function pixels(channels: 3 | 4): Uint8Array {
  return Uint8Array.from({ length: SIZE.width * SIZE.height * channels }, (_, i) => {
    const pixel = Math.floor(i / channels);
    const [x, y] = [pixel % SIZE.width, Math.floor(pixel / SIZE.width)];
    const colour = y === 0 ? [0, 255, 0] : x < SIZE.width / 2 ? [255, 0, 0] : [0, 0, 255];
    return [...colour, y < SIZE.height / 2 ? 255 : 0][i % channels] ?? 0;
  });
}
const drawn = (channels: 3 | 4 = 3): Sharp => sharp(pixels(channels), { raw: { ...SIZE, channels } });

const at = ({ data, width }: { data: Uint8Array; width: number }, x: number, y: number): number[] => [
  ...data.subarray(3 * (y * width + x), 3 * (y * width + x) + 3),
];
const isNear = (a: number[], b: number[], by: number): boolean =>
  a.every((value, i) => Math.abs(value - (b[i] ?? Number.NaN)) <= by);

/** A PNG whose header says so, with `rows` of data. */
async function pngOf(width: number, height: number): Promise<Buffer> {
  const png = await sharp({ create: { width: 1, height: 1, channels: 3, background: "black" } })
    .png()
    .toBuffer();
  png.writeUInt32BE(width, 16);
  png.writeUInt32BE(height, 20);
  const { crc32 } = await import("node:zlib");
  png.writeUInt32BE(crc32(png.subarray(12, 29)), 29);
  return png;
}

describe("an image is read as its viewers see it", () => {
  it.each<[string, () => Sharp, number]>([
    ["PNG", () => drawn().png(), 0],
    ["PNG with a palette", () => drawn().png({ palette: true }), 2],
    ["PNG of 16 bits", () => drawn().toColourspace("rgb16").png(), 0],
    ["interlaced PNG", () => drawn().png({ progressive: true }), 0],
    ["JPEG", () => drawn().jpeg({ quality: 100, chromaSubsampling: "4:4:4" }), 6],
    [
      "progressive JPEG",
      () => drawn().jpeg({ quality: 100, progressive: true, chromaSubsampling: "4:4:4" }),
      6,
    ],
    ["CMYK JPEG", () => drawn().toColourspace("cmyk").jpeg({ quality: 100 }), 140],
    ["lossless WebP", () => drawn().webp({ lossless: true }), 0],
    ["GIF", () => drawn().gif(), 3],
    ["TIFF", () => drawn().tiff({ compression: "lzw" }), 0],
    ["AVIF", () => drawn().avif({ quality: 100, chromaSubsampling: "4:4:4" }), 12],
    ["PNG with a colour profile", () => drawn().withIccProfile("p3").png(), 40],
  ])("%s", async (_, make, tolerance) => {
    const image = await SourceImage.open(await make().toBuffer(), "image");
    expect(image.size).toEqual(SIZE);
    const seen = await image.rgb(SIZE);
    expect(seen.data.length).toBe(3 * SIZE.width * SIZE.height);
    expect(isNear(at(seen, 3, 8), [255, 0, 0], tolerance), at(seen, 3, 8).join()).toBe(true);
    expect(isNear(at(seen, 20, 8), [0, 0, 255], tolerance), at(seen, 20, 8).join()).toBe(true);
    if (tolerance === 0) expect([...seen.data]).toEqual([...pixels(3)]);
  });

  it("grey ones have three channels", async () => {
    for (const make of [drawn().greyscale(), drawn().toColourspace("grey16")]) {
      const image = await SourceImage.open(await make.png().toBuffer(), "image");
      expect((await image.rgb(SIZE)).data.length).toBe(3 * SIZE.width * SIZE.height);
      expect((await image.luminance(SIZE)).length).toBe(SIZE.width * SIZE.height);
    }
  });

  it.each([1, 2, 3, 4, 5, 6, 7, 8])("upright, with EXIF orientation %d", async (orientation) => {
    const file = await drawn().withMetadata({ orientation }).png().toBuffer();
    const image = await SourceImage.open(file, "image");
    const turned = orientation > 4;
    expect(image.size).toEqual(turned ? { width: SIZE.height, height: SIZE.width } : SIZE);
    const seen = await image.rgb(image.size);
    // Where the file's first row is seen, after the EXIF standard.
    const green = {
      1: "top",
      2: "top",
      3: "bottom",
      4: "bottom",
      5: "left",
      6: "right",
      7: "right",
      8: "left",
    };
    const place = green[orientation as keyof typeof green];
    const [right, bottom] = [image.size.width - 1, image.size.height - 1];
    const [x, y] = { top: [5, 0], bottom: [5, bottom], left: [0, 5], right: [right, 5] }[place] as [
      number,
      number,
    ];
    expect(at(seen, x, y)).toEqual([0, 255, 0]);
  });

  it("scaled to cover the size, with its centre cut out", async () => {
    const image = await SourceImage.open(await drawn().png().toBuffer(), "image");
    const seen = await image.rgb({ width: 16, height: 16 });
    expect([at(seen, 0, 8), at(seen, 7, 8), at(seen, 8, 8), at(seen, 15, 8)]).toEqual([
      [255, 0, 0],
      [255, 0, 0],
      [0, 0, 255],
      [0, 0, 255],
    ]);
  });

  it("transparent parts are white, and tell how transparent they are", async () => {
    for (const make of [
      drawn(4).png(),
      drawn(4).toColourspace("rgb16").png(),
      drawn(4).webp({ lossless: true }),
    ]) {
      const image = await SourceImage.open(await make.toBuffer(), "image");
      const seen = await image.rgb(SIZE);
      expect([at(seen, 3, 3), at(seen, 3, 12)]).toEqual([
        [255, 0, 0],
        [255, 255, 255],
      ]);
      const clear = await image.transparency(SIZE);
      expect([clear[3 * SIZE.width], clear[12 * SIZE.width]]).toEqual([0, 255]);
    }
    const opaque = await SourceImage.open(await drawn().png().toBuffer(), "image");
    expect(await opaque.transparency(SIZE)).toEqual(new Uint8Array(SIZE.width * SIZE.height));
  });
});

describe("a file that is no still image is refused by name", () => {
  const frames = (): Promise<Buffer> =>
    sharp(
      new Uint8Array(2 * 3 * 64).map((_, i) => i),
      { raw: { width: 8, height: 16, channels: 3, pageHeight: 8 } },
    )
      .gif()
      .toBuffer();
  const whole = (): Promise<Buffer> => drawn().png().toBuffer();
  const text = (value: string) => Promise.resolve(Buffer.from(value));

  const HOSTILE: [string, () => Promise<Buffer>][] = [
    ["nothing", () => text("")],
    ["text", () => text("hello")],
    ["HTML", () => text("<html><body>no</body></html>")],
    [
      "SVG",
      () =>
        text(
          '<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"><rect width="9" height="9"/></svg>',
        ),
    ],
    [
      "SVG that includes a file",
      () =>
        text(
          '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="9" height="9"><image xlink:href="file:///etc/passwd"/></svg>',
        ),
    ],
    [
      "XML with entities",
      () => text('<!DOCTYPE x [<!ENTITY a "aaaa">]><svg xmlns="http://www.w3.org/2000/svg">&a;</svg>'),
    ],
    ["PDF", () => text("%PDF-1.4\n1 0 obj<</Type/Catalog>>endobj\ntrailer<</Root 1 0 R>>")],
    ["a zip", () => text("PK\u0003\u0004aaaaaaaaaaaaaaaaaaaaaaaaaaaaa")],
    ["PPM", () => text("P6 1 1 255\nabc")],
    ["BMP", () => Promise.resolve(Buffer.from("BM".padEnd(80, "\0")))],
    ["a header alone", async () => (await whole()).subarray(0, 33)],
    ["an animated GIF", frames],
    [
      "an animated WebP",
      async () =>
        sharp(await frames(), { animated: true })
          .webp()
          .toBuffer(),
    ],
    [
      "a TIFF of two pages",
      async () =>
        sharp(await frames(), { animated: true })
          .tiff()
          .toBuffer(),
    ],
    ["a bomb of 30,000 x 30,000 pixels", () => pngOf(30_000, 30_000)],
    ["a bomb of 2^31 - 1 rows", () => pngOf(1, 2 ** 31 - 1)],
    ["an image without pixels", () => pngOf(0, 0)],
    [
      "a GIF that says 65,535 x 65,535",
      () =>
        Promise.resolve(
          Buffer.from(
            "474946383961affffffff0000002c00000000ffffffff0002024c01003b".replace("1a", "1"),
            "hex",
          ),
        ),
    ],
  ];

  it.each(HOSTILE)("%s", async (_, make) => {
    const read = make().then(async (file) => (await SourceImage.open(file, "mask")).rgb(SIZE));
    await expect(read).rejects.toThrow(InvalidInputError);
    await expect(read).rejects.toThrow(
      /^mask (must be|must not be empty|must have at most|cannot be decoded)/,
    );
  });

  it("cut off or changed anywhere, it is read or refused, and nothing else", async () => {
    const makers = [
      drawn().png(),
      drawn().jpeg(),
      drawn().webp(),
      drawn().gif(),
      drawn().tiff(),
      drawn().avif(),
    ];
    const outcomes = { read: 0, refused: 0 };
    const read = async (file: Uint8Array): Promise<void> => {
      try {
        const image = await SourceImage.open(file, "image");
        const { data } = await image.rgb(SIZE);
        expect(data.length).toBe(3 * SIZE.width * SIZE.height);
        outcomes.read++;
      } catch (error) {
        expect(error).toBeInstanceOf(InvalidInputError);
        outcomes.refused++;
      }
    };
    for (const make of makers) {
      const file = await make.toBuffer();
      for (let i = 1; i < 10; i++) {
        await read(file.subarray(0, Math.floor((file.length * i) / 10)));
        const changed = Uint8Array.from(file);
        const place = Math.floor((file.length * i) / 10);
        changed[place] = (changed[place] ?? 0) ^ 0x5a;
        await read(changed);
      }
    }
    expect(outcomes.refused).toBeGreaterThan(50);
    expect(outcomes.read + outcomes.refused).toBe(108);
  });
});
