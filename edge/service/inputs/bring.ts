// Brings the files that an input names: out of data URLs, from this service itself, or from a public host.

import { CAPABILITY_PATTERN, isPredictionId } from "@vqd/shared/ids.ts";
import { MAX_SOURCE_BYTES } from "@vqd/shared/limits.ts";
import type { Config } from "../../config.ts";
import { fileKey, isFileName } from "../../hub/storage/files.ts";
import { uploadName } from "../../prediction/file-records.ts";
import { unwrap } from "../../prediction/hub-result.ts";
import { decodeBase64 } from "../../util/bytes.ts";
import type { Hubs } from "../hubs.ts";
import { fetchFile } from "./fetch.ts";

export interface Surroundings {
  readonly hubs: Hubs;
  readonly config: Config;
  readonly bucket: R2Bucket;
  /** Owner of the request's key. */
  readonly keyName: string;
  /** Origins that mean this service itself. */
  readonly origins: ReadonlySet<string>;
}

/** A file that a caller names, or what is wrong with its name as the error of a field. */
export type Brought =
  | {
      readonly bytes: Uint8Array<ArrayBuffer>;
      /** What the file is told apart by: its URL if it lies elsewhere and may change, else null for its content. */
      readonly url: string | null;
    }
  | { readonly complaint: string };

const DATA_URL = /^data:[^,]{0,200};base64,/i;
const GONE = "names a file that does not exist or has expired";
const TOO_LARGE = `must have at most ${MAX_SOURCE_BYTES} bytes`;

/** `text` is a data URL, a link to a file of this service, or an https URL. */
export async function bring(text: string, here: Surroundings): Promise<Brought> {
  if (/^data:/i.test(text)) return fromData(text);
  const url = URL.parse(text);
  if (url !== null && here.origins.has(url.origin)) return fromHere(url, here);
  const fetched = await fetchFile(text, here.config.webhookUrls);
  return "complaint" in fetched ? fetched : { ...fetched, url: text };
}

function fromData(text: string): Brought {
  const head = DATA_URL.exec(text)?.[0];
  if (head === undefined)
    return { complaint: "must be base64 if it is a data URL: data:image/png;base64,..." };
  return fromBase64(text.slice(head.length));
}

/** The bytes that base64 stands for. */
export function fromBase64(text: string): Brought {
  if ((text.length * 3) / 4 > MAX_SOURCE_BYTES + 3) return { complaint: TOO_LARGE };
  const bytes = decodeBase64(text);
  if (bytes === undefined) return { complaint: "is not valid base64" };
  return bytes.length > MAX_SOURCE_BYTES ? { complaint: TOO_LARGE } : { bytes, url: null };
}

/** A file of this service, read where it is stored: an upload of the key's owner, or whatever has the capability in its URL. */
async function fromHere(url: URL, here: Surroundings): Promise<Brought> {
  const [, first = "", name] = /^\/v1\/files\/([^/]+)(?:\/([^/]+))?$/.exec(url.pathname) ?? [];
  const key = name === undefined ? await keyOfUpload(first, here) : keyOf(first, name);
  const file = key === undefined ? null : await here.bucket.get(key);
  if (file === null) return { complaint: GONE };
  if (file.size > MAX_SOURCE_BYTES) {
    await file.body.cancel();
    return { complaint: TOO_LARGE };
  }
  return { bytes: new Uint8Array(await file.arrayBuffer()), url: null };
}

const keyOf = (capability: string, name: string): string | undefined =>
  CAPABILITY_PATTERN.test(capability) && isFileName(name) ? fileKey(capability, name) : undefined;

async function keyOfUpload(id: string, { hubs, keyName }: Surroundings): Promise<string | undefined> {
  if (!isPredictionId(id) || !hubs.has(id)) return undefined;
  const found = await hubs.ofPrediction(id).file(id, keyName);
  if (!found.ok && found.error.code === "not_found") return undefined;
  const { capability, type } = unwrap(found);
  return fileKey(capability, uploadName(type));
}
