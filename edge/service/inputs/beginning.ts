// What an input's images start from, as bytes: brought, checked as far as that goes without decoding, and told apart.

import { decodeTokensFile } from "@vqd/shared/editing/tokens-file.ts";
import { decodeTokens, encodeTokens } from "@vqd/shared/codec.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { MAX_IMAGES, MAX_SOURCE_BYTES } from "@vqd/shared/limits.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { type ImageType, imageTypeOf, NO_IMAGE } from "../../prediction/image-type.ts";
import { sha256Hex } from "../../util/bytes.ts";
import type { PredictionInput } from "../schemas.ts";
import { bring, type Brought, fromBase64, type Surroundings } from "./bring.ts";
import { checkStart, type Refuse } from "./check.ts";

export interface InputImage {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly type: ImageType;
  /** Tells it from others: SHA-256 of its bytes, or its URL if it lies elsewhere. */
  readonly identity: string;
}

export interface InputTokens {
  /** Class ids as uint16 LE, of each image [latentHeight x latentWidth]. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly images: number;
  readonly identity: string;
}

export interface Beginning {
  readonly image?: InputImage;
  readonly mask?: InputImage;
  readonly tokens?: InputTokens;
}

/** Files that came with the request itself, instead of names in its input. */
export type AttachedFiles = { readonly [Field in "image" | "mask"]?: Uint8Array<ArrayBuffer> };

const BARE_BASE64 = /^[A-Za-z0-9+/]+={0,2}$/;

/** Throws, by `refuse`, for fields that do not go together, and for files that cannot be brought or are of no known type. */
export async function bringBeginning(
  input: PredictionInput,
  attached: AttachedFiles,
  model: ModelManifest,
  here: Surroundings,
  refuse: Refuse,
): Promise<Beginning> {
  const isAttached = (field: "image" | "mask"): object =>
    attached[field] === undefined ? {} : { [field]: "attached" };
  checkStart({ ...input, ...isAttached("image"), ...isAttached("mask") }, refuse);
  const imageOf = async (field: "image" | "mask"): Promise<InputImage | undefined> => {
    const file = attached[field];
    const name = input[field];
    if (file === undefined && !name) return undefined;
    const brought = file === undefined ? await bring(name ?? "", here) : { bytes: file, url: null };
    if ("complaint" in brought) return refuse(field, brought.complaint);
    const type = imageTypeOf(brought.bytes);
    if (type === undefined) return refuse(field, NO_IMAGE);
    return { bytes: brought.bytes, type, identity: await identityOf(brought) };
  };
  const image = await imageOf("image");
  const mask = await imageOf("mask");
  if ((image?.bytes.length ?? 0) + (mask?.bytes.length ?? 0) > MAX_SOURCE_BYTES) {
    refuse("mask", `and image must have at most ${MAX_SOURCE_BYTES} bytes together`);
  }
  const tokens = input.tokens ? await tokensOf([input.tokens].flat(), model, here, refuse) : undefined;
  return {
    ...(image === undefined ? {} : { image }),
    ...(mask === undefined ? {} : { mask }),
    ...(tokens === undefined ? {} : { tokens }),
  };
}

const identityOf = async ({ bytes, url }: Exclude<Brought, { complaint: string }>): Promise<string> =>
  url ?? sha256Hex(bytes);

async function tokensOf(
  named: readonly string[],
  model: ModelManifest,
  here: Surroundings,
  refuse: Refuse,
): Promise<InputTokens> {
  const parts: Uint8Array<ArrayBuffer>[] = [];
  const pixels = model.latentHeight * model.latentWidth;
  for (const text of named) {
    const brought = BARE_BASE64.test(text) ? fromBase64(text) : await bring(text, here);
    if ("complaint" in brought) return refuse("tokens", brought.complaint);
    const { bytes } = brought;
    const ids = isTokensFile(bytes) ? idsOfFile(bytes, model, refuse) : idsOf(bytes, pixels, refuse);
    if (ids.some((id) => id >= model.numVectorEmbeds - 1)) {
      refuse(
        "tokens",
        `must all be below ${model.numVectorEmbeds - 1}: masked or unknown tokens are no finished image`,
      );
    }
    parts.push(encodeTokens(ids));
  }
  const bytes = new Uint8Array(await new Blob(parts).arrayBuffer());
  const images = bytes.length / (2 * pixels);
  if (images > MAX_IMAGES) refuse("tokens", `has ${images} images; a prediction makes at most ${MAX_IMAGES}`);
  return { bytes, images, identity: await sha256Hex(bytes) };
}

const isTokensFile = (bytes: Uint8Array): boolean => String.fromCharCode(...bytes.subarray(0, 4)) === "VQDT";

function idsOfFile(bytes: Uint8Array, model: ModelManifest, refuse: Refuse): Uint16Array {
  try {
    const { version, height, width, tokens } = decodeTokensFile(bytes);
    if (version !== model.version) refuse("tokens", `is of another model or version than ${model.name}'s`);
    const grid = `${model.latentHeight} rows of ${model.latentWidth} tokens`;
    if (height !== model.latentHeight || width !== model.latentWidth) refuse("tokens", `must have ${grid}`);
    return tokens;
  } catch (error) {
    if (error instanceof VqdError && error.errors.length === 0) refuse("tokens", `is ${error.message}`);
    throw error;
  }
}

function idsOf(bytes: Uint8Array, pixels: number, refuse: Refuse): Uint16Array {
  if (bytes.length === 0 || bytes.length % (2 * pixels) !== 0) {
    refuse("tokens", `must be a file of tokens, or ${2 * pixels} bytes for each image, not ${bytes.length}`);
  }
  return decodeTokens(bytes);
}
