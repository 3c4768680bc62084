// Stores images of predictions in object storage under their capability, and deletes them later.

import type { OutputEvent, PreviewEvent } from "@vqd/shared/events.ts";
import { withSettings } from "@vqd/shared/metadata/settings.ts";
import { TOKENS_MEDIA_TYPE } from "@vqd/shared/editing/tokens-file.ts";
import { imageSettings } from "../../prediction/image-settings.ts";
import type { RecordedState } from "../../prediction/records.ts";
import type { PredictionRow } from "./prediction-row.ts";

/** Time limit for what others wait for: a put, after which later events come, or a read of the archive. */
const LIMIT_MS = 5_000;

const CONTENT_TYPES = {
  png: "image/png",
  webp: "image/webp",
  jpeg: "image/jpeg",
  tokens: TOKENS_MEDIA_TYPE,
} as const;

const EXTENSIONS = { png: "png", webp: "webp", jpeg: "jpg", tokens: "vqt" } as const;

/** Events with an image. */
export type FileEvent = OutputEvent | PreviewEvent;

const NAME =
  /^(?:(?:\d{1,3}(?:-\d{1,3})?|file|image|mask)\.(?:png|jpg|webp|gif|avif|tiff)|\d{1,3}\.vqt|tokens\.bin)$/;

/** Whether a file may have that name: an output, a preview, an upload, or what a prediction starts from. */
export const isFileName = (name: string): boolean => NAME.test(name);

/** Key of a file in the bucket, unguessable because of the capability. */
export const fileKey = (capability: string, name: string): string => `${capability}/${name}`;

/** File name of an event's image, the last segment of its URL: "0.png", or "0-2.png" for the third preview of image 0. */
export function fileName(event: FileEvent): string {
  const extension = EXTENSIONS[event.format];
  return event.type === "output"
    ? `${event.index}.${extension}`
    : `${event.index}-${event.preview}.${extension}`;
}

/** The file of an image: as the worker sent it, but with its settings if the prediction wants them. Workers know no prompts. */
export function fileOf(
  row: PredictionRow,
  event: OutputEvent,
  image: Uint8Array<ArrayBuffer>,
): Uint8Array<ArrayBuffer> {
  if (event.format !== "png" || event.index >= row.images) return image;
  const settings = imageSettings(row, event.index, event);
  return settings === undefined ? image : withSettings(image, settings);
}

/** Stores an image. Throws if that fails or takes too long. */
export const putImage = (
  bucket: R2Bucket,
  row: PredictionRow,
  event: FileEvent,
  bytes: Uint8Array,
): Promise<void> =>
  putFile(bucket, fileKey(row.fileCapability, fileName(event)), bytes, CONTENT_TYPES[event.format]);

/** Stores a file, overwriting any with the same key. Throws if that fails or takes too long. */
export async function putFile(
  bucket: Pick<R2Bucket, "put">,
  key: string,
  bytes: Uint8Array,
  contentType: string,
): Promise<void> {
  await inTime(bucket.put(key, bytes, { httpMetadata: { contentType } }));
}

/** What object storage answers. Rejects if that takes too long. */
export async function inTime<T>(answer: Promise<T>): Promise<T> {
  const late = Promise.withResolvers<never>();
  const timer = setTimeout(() => late.reject(new Error(`no response within ${LIMIT_MS} ms`)), LIMIT_MS);
  return Promise.race([answer, late.promise]).finally(() => clearTimeout(timer));
}

/** Deletes all files of a prediction: what it starts from, its images, previews and what a failed attempt left behind. */
export async function deleteImages(bucket: R2Bucket, row: PredictionRow): Promise<void> {
  const { inputCapability, inputFiles } = row;
  if (inputFiles.length > 0)
    await bucket.delete(inputFiles.map(({ name }) => fileKey(inputCapability, name)));
  // A prediction that never started has no images. (Its step would not tell: an attempt that starts over resets it.)
  if (row.startedAt === null && row.outputs.length === 0) return;
  const { objects } = await bucket.list({ prefix: fileKey(row.fileCapability, "") });
  if (objects.length > 0) await bucket.delete(objects.map(({ key }) => key));
}

/** Stores what a prediction starts from: `attachment` is its files, one after another. Throws like putFile. */
export async function putInputs(
  bucket: R2Bucket,
  { inputCapability, inputFiles }: Pick<PredictionRow, "inputCapability" | "inputFiles">,
  attachment: Uint8Array,
): Promise<void> {
  let at = 0;
  for (const { name, contentType, bytes } of inputFiles) {
    await putFile(bucket, fileKey(inputCapability, name), attachment.subarray(at, at + bytes), contentType);
    at += bytes;
  }
}

/** The file that says what a prediction holds: undefined if none does, null if it is no longer stored. */
export async function maskOf(
  bucket: R2Bucket,
  { inputCapability, inputFiles }: PredictionRow,
): Promise<RecordedState["mask"]> {
  const found = inputFiles.find(({ channel }) => channel !== undefined);
  if (found?.channel === undefined) return undefined;
  const file = await bucket.get(fileKey(inputCapability, found.name));
  return file && { bytes: new Uint8Array(await file.arrayBuffer()), channel: found.channel };
}

/** What a prediction starts from, as it follows its job; undefined if it is no longer stored. */
export async function getInputs(
  bucket: R2Bucket,
  { inputCapability, inputFiles }: PredictionRow,
): Promise<Uint8Array<ArrayBuffer> | undefined> {
  const parts: ArrayBuffer[] = [];
  for (const { name } of inputFiles) {
    const file = await bucket.get(fileKey(inputCapability, name));
    if (file === null) return undefined;
    parts.push(await file.arrayBuffer());
  }
  return new Uint8Array(await new Blob(parts).arrayBuffer());
}
