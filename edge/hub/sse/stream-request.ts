// The request for an event stream that a handler sends to the hub, and the two formats of its events.

import type { OutputFile, PredictionRecord, StoredEvent } from "../../prediction/records.ts";
import { fileUrl } from "../../prediction/urls.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { RETRY_SECONDS } from "./reader-slots.ts";

/** Either the key's owner asks, for whom `output` is `{index, url}`, or the bearer of a capability, in Replicate's format. */
export type StreamQuery = {
  readonly id: string;
  /** Sequence number of the last event that the reader has. */
  readonly after: number;
  /** Origin for links. */
  readonly origin: string;
} & (
  | { readonly keyName: string }
  | {
      readonly capability: string;
      /** Whether the reader knows no other types of events than Replicate's. */
      readonly strict?: boolean;
    }
);

/** The types of events that Replicate has. */
const REPLICATE_EVENTS: ReadonlySet<string> = new Set(["output", "logs", "error", "done"]);

export function streamRequest(query: StreamQuery, signal: AbortSignal): Request {
  const url = new URL("https://hub/events");
  for (const [name, value] of Object.entries(query)) url.searchParams.set(name, String(value));
  return new Request(url, { signal });
}

export function parseStreamQuery({ searchParams }: URL): StreamQuery {
  const get = (name: string): string => searchParams.get(name) ?? "";
  const base = { id: get("id"), after: Number(get("after")), origin: get("origin") };
  return searchParams.has("keyName")
    ? { ...base, keyName: get("keyName") }
    : { ...base, capability: get("capability"), strict: get("strict") === "true" };
}

export interface EventForm {
  readonly view: string;
  /** The event's data; undefined for an event that the reader must not get. */
  readonly format: (event: StoredEvent) => string | undefined;
}

/**
 * How a reader gets stored events: file names become URLs, and for Replicate's client an `output` is the bare URL. Readers
 * with the same `view` see the same bytes.
 */
export function eventForm(row: PredictionRecord, query: StreamQuery): EventForm {
  const isStrict = "capability" in query && query.strict === true;
  const form = "capability" in query ? "replicate" : "own";
  const view = [row.id, form, isStrict ? "strict" : "all", query.origin].join(" ");
  const format: EventForm["format"] = ({ type, data }) => {
    if (isStrict && !REPLICATE_EVENTS.has(type)) return undefined;
    if (type !== "output" && type !== "preview") return data;
    const { name, ...rest } = JSON.parse(data) as OutputFile;
    const url = fileUrl(query.origin, row.fileCapability, name);
    return type === "output" && "capability" in query ? url : JSON.stringify({ ...rest, url });
  };
  return { view, format };
}

export const tooManyReaders = (): Response =>
  new Response(null, { status: 503, headers: { "retry-after": String(RETRY_SECONDS) } });

/** For a reader that is refused with a VqdError (rate_limited); throws anything else. */
export function refusedReader(error: unknown): Response {
  if (!(error instanceof VqdError)) throw error;
  return new Response(error.message, {
    status: 429,
    headers: { "retry-after": String(error.retryAfterSeconds ?? RETRY_SECONDS) },
  });
}
