// The hub's side of object storage: puts images of predictions under their capability, removes them later.

import type { OutputEvent, PreviewEvent } from "@vqd/shared/events.ts";
import type { PredictionRow } from "./prediction-row.ts";

const PUT_ATTEMPTS = 4;
const PUT_RETRY_MS = 250;

const CONTENT_TYPES = { png: "image/png", webp: "image/webp", jpeg: "image/jpeg" } as const;

/** Key of a file in the bucket; the capability makes it unguessable. */
export const fileKey = (capability: string, name: string): string => `${capability}/${name}`;

/** Name of an event's file, the last segment of its URL: "0.png", or "0-2.png" for the third preview of image 0. */
export function fileName(event: OutputEvent | PreviewEvent): string {
  const extension = event.format === "jpeg" ? "jpg" : event.format;
  return event.type === "output"
    ? `${event.index}.${extension}`
    : `${event.index}-${event.preview}.${extension}`;
}

/** Stores an image, trying again a few times; throws the last error. */
export async function putImage(
  bucket: R2Bucket,
  row: PredictionRow,
  event: OutputEvent | PreviewEvent,
  bytes: Uint8Array,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await bucket.put(fileKey(row.fileCapability, fileName(event)), bytes, {
        httpMetadata: { contentType: CONTENT_TYPES[event.format] },
      });
      return;
    } catch (error) {
      if (attempt === PUT_ATTEMPTS) throw error;
      await new Promise((resolve) => setTimeout(resolve, PUT_RETRY_MS * attempt));
    }
  }
}

/** Removes all images of a prediction, previews and what a broken attempt has left included. */
export async function deleteImages(bucket: R2Bucket, row: PredictionRow): Promise<void> {
  // Before its start there is nothing to show. Its step says less: an attempt that starts over sets it back.
  if (row.startedAt === null && row.outputs.length === 0) return;
  const { objects } = await bucket.list({ prefix: fileKey(row.fileCapability, "") });
  if (objects.length > 0) await bucket.delete(objects.map(({ key }) => key));
}
