// Adds text to PNG files, in chunks that readers which do not know them skip (PNG, third edition, 11.3.3).

const SIGNATURE = [0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a];
/** The signature and the header chunk, which must be the first. */
const HEADER_BYTES = SIGNATURE.length + 25;
const IHDR = 0x49484452;

/** What a tEXt chunk may hold: printable Latin-1 and line feeds. */
const LATIN1 = /^[\n\u0020-\u007e\u00a0-\u00ff]*$/;

const CRC_TABLE = Uint32Array.from({ length: 256 }, (_, n) => {
  let c = n;
  for (let bit = 0; bit < 8; bit++) c = c & 1 ? 0xedb88320 ^ (c >>> 1) : c >>> 1;
  return c;
});

function crc32(bytes: Uint8Array): number {
  let crc = 0xffffffff;
  for (const byte of bytes) crc = (CRC_TABLE[(crc ^ byte) & 0xff] ?? 0) ^ (crc >>> 8);
  return ~crc >>> 0;
}

/** The file with `texts` by keyword (1 to 79 Latin-1 characters), unchanged if it is no PNG. */
export function withTexts(
  png: Uint8Array<ArrayBuffer>,
  texts: Readonly<Record<string, string>>,
): Uint8Array<ArrayBuffer> {
  if (!isPng(png)) return png;
  const chunks = Object.entries(texts).map(([keyword, text]) => textChunk(keyword, text));
  const file = new Uint8Array(png.length + chunks.reduce((sum, { length }) => sum + length, 0));
  let at = 0;
  for (const part of [png.subarray(0, HEADER_BYTES), ...chunks, png.subarray(HEADER_BYTES)]) {
    file.set(part, at);
    at += part.length;
  }
  return file;
}

function isPng(bytes: Uint8Array): boolean {
  if (bytes.length < HEADER_BYTES || SIGNATURE.some((byte, i) => bytes[i] !== byte)) return false;
  const view = new DataView(bytes.buffer, bytes.byteOffset);
  return view.getUint32(SIGNATURE.length + 4) === IHDR;
}

/** tEXt where the text is Latin-1, as most readers expect, else iTXt in UTF-8, uncompressed and without a language. */
function textChunk(keyword: string, text: string): Uint8Array {
  // A null character would end the text.
  const shown = text.replaceAll("\0", "");
  if (LATIN1.test(shown)) return chunk("tEXt", latin1(`${keyword}\0${shown}`));
  return chunk("iTXt", latin1(`${keyword}\0\0\0\0\0`), new TextEncoder().encode(shown));
}

const latin1 = (text: string): Uint8Array => Uint8Array.from(text, (char) => char.charCodeAt(0));

function chunk(type: string, ...data: readonly Uint8Array[]): Uint8Array {
  const length = data.reduce((sum, part) => sum + part.length, 0);
  const bytes = new Uint8Array(length + 12);
  const view = new DataView(bytes.buffer);
  view.setUint32(0, length);
  bytes.set(latin1(type), 4);
  let at = 8;
  for (const part of data) {
    bytes.set(part, at);
    at += part.length;
  }
  view.setUint32(at, crc32(bytes.subarray(4, at)));
  return bytes;
}
