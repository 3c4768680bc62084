// How jobs, events and states are encoded in a NATS message: a line of JSON, followed by the attachment, if any.

import { z } from "zod";
import { VqdError } from "./errors.ts";
import { type JobState, jobStateSchema, type PredictionEvent, predictionEventSchema } from "./events.ts";
import { type Job, jobSchema } from "./job.ts";
import { type ModelManifest, modelManifestSchema } from "./model.ts";
import { type ModelRoute, modelRouteSchema } from "./routing/route.ts";
import { outOfBounds } from "./out-of-bounds.ts";
import { sourceBytes } from "./editing/source.ts";

const NEWLINE = 0x0a;
const encoder = new TextEncoder();
const decoder = new TextDecoder("utf-8", { fatal: true });

/** Characters of an error, which names unknown fields: a frame may have very many. */
const MAX_REASONS = 500;
const NO_ATTACHMENT = new Uint8Array(0);

export interface Framed<T> {
  readonly value: T;
  /** Raw bytes after the JSON line: an encoded image, or class ids as uint16 LE, or a job's source. Empty if there is none. */
  readonly attachment: Uint8Array<ArrayBuffer>;
}

/** JSON never contains a raw newline, so the first one ends it; what is attached follows, one after the other. */
export function encodeFrame(value: unknown, ...attached: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const json = encoder.encode(JSON.stringify(value));
  const frame = new Uint8Array(attached.reduce((sum, { length }) => sum + length, json.length + 1));
  frame.set(json);
  frame[json.length] = NEWLINE;
  let at = json.length + 1;
  for (const bytes of attached) {
    frame.set(bytes, at);
    at += bytes.length;
  }
  return frame;
}

/** Throws a VqdError (internal) that says what is wrong with `what`. */
export function decodeFrame<T>(schema: z.ZodType<T>, what: string, frame: Uint8Array): Framed<T> {
  const end = frame.indexOf(NEWLINE);
  let json: unknown;
  try {
    json = JSON.parse(decoder.decode(end < 0 ? frame : frame.subarray(0, end)));
  } catch (cause) {
    throw new VqdError("internal", `${what}: not a line of JSON`, { cause });
  }
  const parsed = schema.safeParse(json);
  if (!parsed.success) {
    const reasons = z.prettifyError(parsed.error).slice(0, MAX_REASONS);
    throw new VqdError("internal", `${what}: ${reasons}`, { cause: parsed.error });
  }
  // A copy, so that the attachment neither retains nor shares the receive buffer.
  return {
    value: parsed.data,
    attachment: end < 0 ? new Uint8Array(0) : new Uint8Array(frame.subarray(end + 1)),
  };
}

/** `source` is what source.ts describes, for a job that has one. */
export const encodeJob = (job: Job, source?: Uint8Array): Uint8Array<ArrayBuffer> =>
  encodeFrame(job, source ?? NO_ATTACHMENT);

/** Also throws if the attachment does not have the length that the job's source says. */
export function decodeJob(frame: Uint8Array): Framed<Job> {
  const framed = decodeFrame(jobSchema, "job", frame);
  const { source } = framed.value;
  const wanted = source === undefined ? 0 : sourceBytes(source);
  if (framed.attachment.length !== wanted) {
    throw new VqdError("internal", `job: ${framed.attachment.length} bytes attached instead of ${wanted}`);
  }
  return framed;
}

/** The job's line without what is attached to it, and the two as a frame again. */
export const detachJob = ({ value }: Framed<Job>): Uint8Array<ArrayBuffer> => encodeFrame(value);
export function attachToJob(line: Uint8Array, source: Uint8Array): Framed<Job> {
  const frame = new Uint8Array(line.length + source.length);
  frame.set(line);
  frame.set(source, line.length);
  return decodeJob(frame);
}

/** A job from its line alone. */
export const decodeDetachedJob = (line: Uint8Array): Job => decodeFrame(jobSchema, "job", line).value;

/** The part of a job from another release that identifies it as one, which another worker may be able to run. */
const foreignJobSchema = z.object({ v: z.int(), id: jobSchema.shape.id });

/** Whether a message that `decodeJob` rejects looks like a job of another release. */
export function isForeignJob(frame: Uint8Array): boolean {
  try {
    decodeFrame(foreignJobSchema, "job", frame);
    return true;
  } catch {
    return false;
  }
}

/** `tokenizer` is described in tokenizer/announcement.ts; releases that do not know it ignore it. */
export const encodeManifest = (manifest: ModelManifest, tokenizer?: Uint8Array): Uint8Array<ArrayBuffer> =>
  encodeFrame(manifest, tokenizer ?? NO_ATTACHMENT);
export const decodeManifest = (frame: Uint8Array): Framed<ModelManifest> =>
  decodeFrame(modelManifestSchema, "model manifest", frame);

export const encodeRoute = (route: ModelRoute): Uint8Array<ArrayBuffer> => encodeFrame(route);
export const decodeRoute = (frame: Uint8Array): ModelRoute =>
  decodeFrame(modelRouteSchema, "model route", frame).value;

export const encodeEvent = (event: PredictionEvent, attachment?: Uint8Array): Uint8Array<ArrayBuffer> =>
  encodeFrame(event, attachment ?? NO_ATTACHMENT);
export const decodeEvent = (frame: Uint8Array): Framed<PredictionEvent> =>
  decodeFrame(predictionEventSchema, "event", frame);

export const encodeState = (state: JobState, tokens: Uint16Array): Uint8Array<ArrayBuffer> =>
  encodeFrame(state, encodeTokens(tokens));
export const decodeState = (frame: Uint8Array): Framed<JobState> =>
  decodeFrame(jobStateSchema, "job state", frame);

/** Class ids as uint16, little-endian on every machine. */
export function encodeTokens(tokens: Uint16Array): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(tokens.length * 2);
  const view = new DataView(bytes.buffer);
  for (let i = 0; i < tokens.length; i++) view.setUint16(i * 2, tokens[i] ?? outOfBounds(), true);
  return bytes;
}

export function decodeTokens(bytes: Uint8Array): Uint16Array {
  if (bytes.length % 2 !== 0) throw new VqdError("internal", `tokens: odd number of bytes (${bytes.length})`);
  const view = new DataView(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return Uint16Array.from({ length: bytes.length / 2 }, (_, i) => view.getUint16(i * 2, true));
}
