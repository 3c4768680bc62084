// The images of a prediction in its answer, as data URLs, for clients that cannot make files of plain http links.

import { encodeBase64 } from "../util/bytes.ts";
import { fileKey } from "../hub/storage/files.ts";
import type { PredictionRecord } from "../prediction/records.ts";

/** All images of an answer together; larger ones stay links. */
const MAX_DATA_BYTES = 4 * 1024 * 1024;

/** A data URL for each image; undefined if there are none, if they are no longer stored, or if they are too large. */
export async function dataUrls(
  files: R2Bucket,
  { outputs, fileCapability, filesExpired }: PredictionRecord,
): Promise<string[] | undefined> {
  if (outputs.length === 0 || filesExpired) return undefined;
  const urls: string[] = [];
  let left = MAX_DATA_BYTES;
  for (const { name } of outputs) {
    const file = await files.get(fileKey(fileCapability, name));
    if (file === null) return undefined;
    left -= file.size;
    if (left < 0) {
      await file.body.cancel();
      return undefined;
    }
    const type = file.httpMetadata?.contentType ?? "application/octet-stream";
    urls.push(`data:${type};base64,${encodeBase64(new Uint8Array(await file.arrayBuffer()))}`);
  }
  return urls;
}
