// An image's tokens as a file of about a kilobyte, from which its model makes the same image again.

import { VqdError } from "../errors.ts";
import { MAX_LATENT_PIXELS, MAX_VECTOR_EMBEDS } from "../limits.ts";
import { outOfBounds } from "../out-of-bounds.ts";

export const TOKENS_MEDIA_TYPE = "application/vnd.vqd.tokens";

/**
 * Class ids of one image, and what they mean something to. As a file, numbers little-endian:
 *
 * | bytes | what                                                                                                     |
 * | ----: | -------------------------------------------------------------------------------------------------------- |
 * |     4 | "VQDT"                                                                                                     |
 * |     1 | version of the format, 1                                                                                   |
 * |     1 | bits of a token, B, 1 to 16: as many as the model's highest class id has                                   |
 * |     2 | rows of tokens                                                                                             |
 * |     2 | tokens of a row                                                                                            |
 * |    32 | the model's version, SHA-256                                                                               |
 * |  rest | the tokens, row by row, B bits each: token i has the bits i B to i B + B - 1, where bit n of the sequence is bit n % 8, the lowest first, of byte floor(n / 8); the last byte is filled with zeros |
 */
export interface TokensFile {
  /** The model's version, 64 hexadecimal digits. */
  readonly version: string;
  readonly height: number;
  readonly width: number;
  /** [height x width], row-major; the highest class is the mask, which only unfinished images have. */
  readonly tokens: Uint16Array;
}

const MAGIC = [0x56, 0x51, 0x44, 0x54];
const FORMAT = 1;
const HASH_BYTES = 32;
const HEADER_BYTES = 10 + HASH_BYTES;

/** `numVectorEmbeds` is the model's number of classes, including the mask. */
export function encodeTokensFile(
  { version, height, width, tokens }: TokensFile,
  numVectorEmbeds: number,
): Uint8Array<ArrayBuffer> {
  const bits = 32 - Math.clz32(numVectorEmbeds - 1);
  const file = new Uint8Array(HEADER_BYTES + Math.ceil((tokens.length * bits) / 8));
  const view = new DataView(file.buffer);
  file.set([...MAGIC, FORMAT, bits]);
  view.setUint16(6, height, true);
  view.setUint16(8, width, true);
  for (let i = 0; i < HASH_BYTES; i++) file[10 + i] = parseInt(version.slice(2 * i, 2 * i + 2), 16);
  for (const [i, token] of tokens.entries()) {
    for (let bit = 0; bit < bits; bit++) {
      if (((token >> bit) & 1) === 0) continue;
      const place = i * bits + bit;
      const at = HEADER_BYTES + (place >> 3);
      file[at] = (file[at] ?? outOfBounds()) | (1 << (place & 7));
    }
  }
  return file;
}

/** Throws a VqdError (invalid_input) that says what is wrong. Whether the tokens fit a model is for the caller to check. */
export function decodeTokensFile(file: Uint8Array): TokensFile {
  const refuse = (reason: string): never => {
    throw new VqdError("invalid_input", `not a file of tokens: ${reason}`);
  };
  if (MAGIC.some((byte, i) => file[i] !== byte)) return refuse("it does not begin with VQDT");
  if (file.length < HEADER_BYTES) return refuse("it is cut off");
  if (file[4] !== FORMAT) return refuse(`its format is ${file[4]}, and only ${FORMAT} is known`);
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  const [bits, height, width] = [view.getUint8(5), view.getUint16(6, true), view.getUint16(8, true)];
  const count = height * width;
  if (bits < 1 || bits > Math.log2(MAX_VECTOR_EMBEDS)) return refuse(`${bits} bits a token`);
  if (count < 1 || count > MAX_LATENT_PIXELS) return refuse(`${height} rows of ${width} tokens`);
  const bytes = HEADER_BYTES + Math.ceil((count * bits) / 8);
  if (file.length !== bytes) return refuse(`it has ${file.length} bytes instead of ${bytes}`);
  const bitAt = (place: number): number =>
    ((file[HEADER_BYTES + (place >> 3)] ?? outOfBounds()) >> (place & 7)) & 1;
  for (let place = count * bits; place < (bytes - HEADER_BYTES) * 8; place++) {
    if (bitAt(place) !== 0) return refuse("its last byte is not filled with zeros");
  }
  const tokens = Uint16Array.from({ length: count }, (_, i) => {
    let token = 0;
    for (let bit = 0; bit < bits; bit++) token |= bitAt(i * bits + bit) << bit;
    return token;
  });
  const hash = Array.from(file.subarray(10, HEADER_BYTES), (byte) => byte.toString(16).padStart(2, "0"));
  return { version: hash.join(""), height, width, tokens };
}
