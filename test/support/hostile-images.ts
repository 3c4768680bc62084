// Image files as strangers send them: unusual but right, damaged, made to harm, or no images at all.

import { deflateSync, crc32 } from "node:zlib";
import sharp, { type Sharp } from "sharp";

export interface HostileFile {
  readonly name: string;
  readonly bytes: Buffer;
  /** What its error must say; undefined if it must be read, as sharp shows it. */
  readonly refused?: RegExp;
  /** Read or refused: nobody can object to either. */
  readonly either?: true;
}

const SIDE = 16;
const noise = (channels: 1 | 3 | 4, width = SIDE, height = SIDE): Sharp =>
  sharp(
    Uint8Array.from({ length: channels * width * height }, (_, i) => (i * 97 + (i >> 3) * 31) % 256),
    { raw: { width, height, channels } },
  );
const deep = (): Sharp =>
  sharp(
    Uint16Array.from({ length: 3 * SIDE * SIDE }, (_, i) => (i * 9_973) % 65_536),
    { raw: { width: SIDE, height: SIDE, channels: 3 } },
  ).toColourspace("rgb16");

function chunk(type: string, data: Uint8Array): Buffer {
  const body = Buffer.concat([Buffer.from(type, "latin1"), data]);
  const chunkBytes = Buffer.alloc(body.length + 8);
  chunkBytes.writeUInt32BE(data.length, 0);
  body.copy(chunkBytes, 4);
  chunkBytes.writeUInt32BE(crc32(body), body.length + 4);
  return chunkBytes;
}
const SIGNATURE = Buffer.from("\x89PNG\r\n\x1a\n", "latin1");
/** A PNG file of one bit per pixel, written by hand: of any size, and with any data. */
function png(width: number, height: number, data: Uint8Array, ...more: Buffer[]): Buffer {
  const header = Buffer.alloc(13);
  header.writeUInt32BE(width, 0);
  header.writeUInt32BE(height, 4);
  header.writeUInt8(1, 8);
  return Buffer.concat([
    SIGNATURE,
    chunk("IHDR", header),
    ...more,
    chunk("IDAT", data),
    chunk("IEND", Buffer.alloc(0)),
  ]);
}
const black = (width: number, height: number): Buffer =>
  deflateSync(Buffer.alloc(height * (1 + Math.ceil(width / 8))));

/** A GIF of two frames. */
const animated = (format: "gif" | "webp"): Promise<Buffer> =>
  sharp(Buffer.concat([Buffer.alloc(3 * SIDE * SIDE, 9), Buffer.alloc(3 * SIDE * SIDE, 200)]), {
    raw: { width: SIDE, height: 2 * SIDE, channels: 3, pageHeight: SIDE },
  })
    .toFormat(format, { loop: 0, delay: [100, 100] })
    .toBuffer();

function tiffLoop(): Buffer {
  const file = Buffer.alloc(14);
  file.write("II*\0", "latin1");
  file.writeUInt32LE(8, 4);
  // No entries, and the next directory is this one.
  file.writeUInt16LE(0, 8);
  file.writeUInt32LE(8, 10);
  return file;
}

/** The jpeg with other dimensions in its frame header. */
function resizedHeader(jpeg: Buffer, side: number): Buffer {
  const file = Buffer.from(jpeg);
  const at = file.indexOf(Buffer.from([0xff, 0xc0]));
  file.writeUInt16BE(side, at + 5);
  file.writeUInt16BE(side, at + 7);
  return file;
}

function mutated(file: Buffer, seed: number): Buffer {
  const copy = Buffer.from(file);
  let state = seed;
  for (let i = 0; i < 8; i++) {
    state = (state * 1_103_515_245 + 12_345) % 2 ** 31;
    // The signature stays.
    const at = 8 + (state % (copy.length - 8));
    copy[at] = (copy[at] ?? 0) ^ (1 + (state % 255));
  }
  return copy;
}

const UNDECODABLE = /^image (cannot be decoded|must be a PNG.* file)/;
const NO_IMAGE = /must be a PNG, JPEG, WebP, GIF, AVIF or TIFF image/;

export async function hostileFiles(): Promise<HostileFile[]> {
  const plain = await noise(3).png().toBuffer();
  const jpeg = await noise(3, 40, 24).jpeg({ quality: 95 }).toBuffer();
  const [webp, gif, avif, tiff] = await Promise.all([
    noise(3).webp().toBuffer(),
    noise(3).gif().toBuffer(),
    noise(3).avif().toBuffer(),
    noise(3).tiff().toBuffer(),
  ]);
  const right: [string, Buffer][] = [
    ["a PNG", plain],
    ["a PNG with a palette", await noise(3).png({ palette: true, colours: 16 }).toBuffer()],
    ["a grey PNG", await noise(1).png().toBuffer()],
    ["a PNG with alpha", await noise(4).png().toBuffer()],
    ["an interlaced PNG", await noise(3).png({ progressive: true }).toBuffer()],
    ["a PNG of 16 bits", await deep().png().toBuffer()],
    ["a PNG of one bit", png(SIDE, SIDE, black(SIDE, SIDE))],
    ["a PNG of one pixel", await noise(3, 1, 1).png().toBuffer()],
    ["a PNG of one row", await noise(3, 4_096, 1).png().toBuffer()],
    ["a PNG of one column", await noise(3, 1, 4_096).png().toBuffer()],
    ["a PNG of the most pixels", png(8_192, 4_096, black(8_192, 4_096))],
    ["a JPEG", jpeg],
    ["a progressive JPEG", await noise(3).jpeg({ progressive: true }).toBuffer()],
    ["a grey JPEG", await noise(1).jpeg().toBuffer()],
    ["a JPEG in CMYK", await noise(3).toColourspace("cmyk").jpeg().toBuffer()],
    ["a WebP", webp],
    ["a lossless WebP", await noise(3).webp({ lossless: true }).toBuffer()],
    ["a WebP with alpha", await noise(4).webp().toBuffer()],
    ["a GIF", gif],
    ["an AVIF", avif],
    ["a TIFF", tiff],
    ["a TIFF with LZW", await noise(3).tiff({ compression: "lzw" }).toBuffer()],
    ["a TIFF of 16 bits", await deep().tiff().toBuffer()],
    ["a TIFF in CMYK", await noise(3).toColourspace("cmyk").tiff().toBuffer()],
  ];
  for (let orientation = 1; orientation <= 8; orientation++) {
    right.push([
      `a JPEG of EXIF orientation ${orientation}`,
      await sharp(jpeg).withMetadata({ orientation }).jpeg({ quality: 95 }).toBuffer(),
    ]);
  }
  const cut = (file: Buffer): Buffer => file.subarray(0, Math.floor(file.length / 2));
  const refused: [string, Buffer, RegExp][] = [
    ["nothing", Buffer.alloc(0), NO_IMAGE],
    ["a byte", Buffer.from("x"), NO_IMAGE],
    ["the signature of a PNG", SIGNATURE, UNDECODABLE],
    ["half a PNG", cut(plain), UNDECODABLE],
    ["half a JPEG", cut(jpeg), UNDECODABLE],
    ["half a WebP", cut(webp), UNDECODABLE],
    ["half a GIF", cut(gif), UNDECODABLE],
    ["half an AVIF", cut(avif), UNDECODABLE],
    ["half a TIFF", cut(tiff), UNDECODABLE],
    ["a PNG with other data than it says", png(64, 64, Buffer.from("no zlib")), UNDECODABLE],
    ["a PNG with too little data", png(640, 640, black(8, 8)), UNDECODABLE],
    [
      "a bomb of 900 megapixels",
      png(30_000, 30_000, black(30_000, 30_000)),
      /^image must have at most \d+ pixels/,
    ],
    ["a PNG of 2^31 - 1 pixels a side", png(2 ** 31 - 1, 2 ** 31 - 1, black(8, 8)), /^image must /],
    ["a PNG of no pixels", png(0, 0, black(8, 8)), UNDECODABLE],
    [
      "a pixel more than allowed",
      png(8_192, 4_097, black(8_192, 4_097)),
      /^image must have at most \d+ pixels/,
    ],
    [
      "a JPEG that claims 65,500 pixels a side",
      resizedHeader(jpeg, 65_500),
      /^image must have at most \d+ pixels/,
    ],
    ["a GIF of two frames", await animated("gif"), /^image must be a single image/],
    ["a WebP of two frames", await animated("webp"), /^image must be a single image/],
    ["a TIFF that never ends", tiffLoop(), /^image must be /],
    ["SVG", Buffer.from('<svg xmlns="http://www.w3.org/2000/svg" width="9" height="9"/>'), NO_IMAGE],
    [
      "SVG that reads a file",
      Buffer.from(
        '<?xml version="1.0"?><!DOCTYPE svg [<!ENTITY x SYSTEM "file:///etc/passwd">]><svg>&x;</svg>',
      ),
      NO_IMAGE,
    ],
    ["SVG behind a PNG's signature", Buffer.concat([SIGNATURE, Buffer.from("<svg/>")]), UNDECODABLE],
    ["a page", Buffer.from("<!doctype html><script>1</script>"), NO_IMAGE],
    ["a PDF", Buffer.from("%PDF-1.7\n%%EOF"), NO_IMAGE],
    ["an archive", Buffer.from("PK\x03\x04aaaaaaaaaaaaaa", "latin1"), NO_IMAGE],
    ["a BMP", Buffer.from("BM\0\0\0\0\0\0\0\0\x36\0\0\0", "latin1"), NO_IMAGE],
    ["a HEIC", Buffer.from("\0\0\0\x18ftypheic\0\0\0\0mif1heic", "latin1"), NO_IMAGE],
    ["a script that begins like a GIF", Buffer.from("GIF89a/*aaaa*/=1;alert(1)"), UNDECODABLE],
    ["an AVIF's type alone", Buffer.from("\0\0\0\x18ftypavif\0\0\0\0mif1avif", "latin1"), UNDECODABLE],
    ["a WebP's type alone", Buffer.from("RIFF\x24\0\0\0WEBPVP8 ", "latin1"), UNDECODABLE],
    [
      "a JPEG's start and noise",
      Buffer.concat([Buffer.from([0xff, 0xd8, 0xff, 0xe0]), mutated(Buffer.alloc(500, 1), 3)]),
      UNDECODABLE,
    ],
  ];
  const text = deflateSync(Buffer.alloc(100_000_000, 65));
  const zTxt = chunk("zTXt", Buffer.concat([Buffer.from("Comment\0\0", "latin1"), text]));
  const either: [string, Buffer][] = [
    ["a PNG with a text of 100 MB", png(SIDE, SIDE, black(SIDE, SIDE), zTxt)],
    [
      "a PNG with an archive behind it",
      Buffer.concat([plain, Buffer.from("PK\x03\x04", "latin1"), Buffer.alloc(200)]),
    ],
    ...[1, 2, 3, 4, 5].map((seed): [string, Buffer] => [`a PNG with damage ${seed}`, mutated(plain, seed)]),
    ...[1, 2, 3].map((seed): [string, Buffer] => [`a JPEG with damage ${seed}`, mutated(jpeg, seed)]),
    ...[1, 2].map((seed): [string, Buffer] => [`a WebP with damage ${seed}`, mutated(webp, seed)]),
    ...[1, 2].map((seed): [string, Buffer] => [`a TIFF with damage ${seed}`, mutated(tiff, seed)]),
  ];
  return [
    ...right.map(([name, bytes]) => ({ name, bytes })),
    ...refused.map(([name, bytes, message]) => ({ name, bytes, refused: message })),
    ...either.map(([name, bytes]) => ({ name, bytes, either: true as const })),
  ];
}
