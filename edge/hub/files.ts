// The hub's side of object storage: puts images of predictions under their capability, removes them later.

import type { OutputEvent } from "@vqd/shared/events.ts";
import { outputName } from "./ingest.ts";
import type { PredictionRow } from "./store.ts";

const PUT_ATTEMPTS = 4;
const PUT_RETRY_MS = 250;

const CONTENT_TYPES = { png: "image/png", webp: "image/webp", jpeg: "image/jpeg" } as const;

/** Key of a file in the bucket; the capability makes it unguessable. */
export const fileKey = (capability: string, name: string): string => `${capability}/${name}`;

/** Stores an image, trying again a few times; throws the last error. */
export async function putOutput(
  bucket: R2Bucket,
  row: PredictionRow,
  event: OutputEvent,
  bytes: Uint8Array,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await bucket.put(fileKey(row.fileCapability, outputName(event)), bytes, {
        httpMetadata: { contentType: CONTENT_TYPES[event.format] },
      });
      return;
    } catch (error) {
      if (attempt === PUT_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, PUT_RETRY_MS * attempt));
    }
  }
}

export async function deleteOutputs(bucket: R2Bucket, row: PredictionRow): Promise<void> {
  if (row.outputs.length === 0) return;
  await bucket.delete(row.outputs.map(({ name }) => fileKey(row.fileCapability, name)));
}
