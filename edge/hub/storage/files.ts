// Stores images of predictions in object storage under their capability, and deletes them later.

import type { OutputEvent, PreviewEvent } from "@vqd/shared/events.ts";
import type { PredictionRow } from "./prediction-row.ts";

const PUT_ATTEMPTS = 4;
const PUT_RETRY_MS = 250;

const CONTENT_TYPES = { png: "image/png", webp: "image/webp", jpeg: "image/jpeg" } as const;

/** Key of a file in the bucket, unguessable because of the capability. */
export const fileKey = (capability: string, name: string): string => `${capability}/${name}`;

/** File name of an event's image, the last segment of its URL: "0.png", or "0-2.png" for the third preview of image 0. */
export function fileName(event: OutputEvent | PreviewEvent): string {
  const extension = event.format === "jpeg" ? "jpg" : event.format;
  return event.type === "output"
    ? `${event.index}.${extension}`
    : `${event.index}-${event.preview}.${extension}`;
}

/** Stores an image, with a few retries; throws the last error. */
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

/** Deletes all images of a prediction, including previews and what a failed attempt left behind. */
export async function deleteImages(bucket: R2Bucket, row: PredictionRow): Promise<void> {
  // A prediction that never started has no files. (Its step would not tell: an attempt that starts over resets it.)
  if (row.startedAt === null && row.outputs.length === 0) return;
  const { objects } = await bucket.list({ prefix: fileKey(row.fileCapability, "") });
  if (objects.length > 0) await bucket.delete(objects.map(({ key }) => key));
}
