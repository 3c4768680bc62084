// A plain HTTP client of the public API for the tests: JSON requests, and SSE read event by event.

import { createParser, type EventSourceMessage } from "eventsource-parser";

export interface ApiClient {
  readonly url: string;
  readonly apiKey: string;
}

export interface PredictionBody {
  id: string;
  status: string;
  output: string[] | null;
  error: string | null;
  logs: string;
  input: Record<string, unknown>;
  metrics: Record<string, unknown>;
  urls: { get: string; cancel: string; stream: string };
}

/** Sends `body` as JSON with the key; `init` overrides. */
export function request(
  client: ApiClient,
  path: string,
  body?: unknown,
  init: RequestInit = {},
): Promise<Response> {
  return fetch(path.startsWith("http") ? path : client.url + path, {
    method: body === undefined ? "GET" : "POST",
    ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    ...init,
    headers: {
      authorization: `Bearer ${client.apiKey}`,
      ...(body === undefined ? {} : { "content-type": "application/json" }),
      ...(init.headers as Record<string, string> | undefined),
    },
  });
}

/** Creates a prediction and returns it, or throws with the answer when it is refused. */
export async function createPrediction(
  client: ApiClient,
  input: Record<string, unknown>,
  headers: Record<string, string> = {},
): Promise<PredictionBody> {
  const response = await request(client, "/v1/predictions", { input }, { headers });
  if (response.status !== 201)
    throw new Error(`create answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as PredictionBody;
}

export async function getPrediction(client: ApiClient, id: string): Promise<PredictionBody> {
  const response = await request(client, `/v1/predictions/${id}`);
  if (response.status !== 200) throw new Error(`get answered ${response.status}: ${await response.text()}`);
  return (await response.json()) as PredictionBody;
}

/** The bytes of the one image that the OpenAI endpoint makes of `body`. */
export async function generateImage(client: ApiClient, body: Record<string, unknown>): Promise<Buffer> {
  const response = await request(client, "/v1/images/generations", body);
  if (response.status !== 200)
    throw new Error(`generate answered ${response.status}: ${await response.text()}`);
  const { data } = (await response.json()) as { data: { b64_json: string }[] };
  const [image] = data;
  if (data.length !== 1 || image === undefined) throw new Error(`expected one image, got ${data.length}`);
  return Buffer.from(image.b64_json, "base64");
}

/** The events of a prediction as they arrive, from after `lastEventId` if given, to the end of the stream. */
export async function* readEvents(
  client: ApiClient,
  id: string,
  options: { lastEventId?: string; signal?: AbortSignal } = {},
): AsyncGenerator<EventSourceMessage> {
  const response = await request(client, `/v1/predictions/${id}/events`, undefined, {
    headers: options.lastEventId === undefined ? {} : { "last-event-id": options.lastEventId },
    ...(options.signal === undefined ? {} : { signal: options.signal }),
  });
  if (response.status !== 200 || response.body === null) {
    throw new Error(`events answered ${response.status}: ${await response.text()}`);
  }
  const arrived: EventSourceMessage[] = [];
  const parser = createParser({ onEvent: (event) => arrived.push(event) });
  for await (const chunk of response.body.pipeThrough(new TextDecoderStream())) {
    parser.feed(chunk);
    yield* arrived.splice(0);
  }
}

/** All events of a prediction, once it is over. */
export const allEvents = (client: ApiClient, id: string): Promise<EventSourceMessage[]> =>
  Array.fromAsync(readEvents(client, id));

/** The numbers of the `step` events, in order of arrival. */
export function stepNumbers(events: readonly EventSourceMessage[]): number[] {
  return events
    .filter((event) => event.event === "step")
    .map((event) => (JSON.parse(event.data) as { step: number }).step);
}

/** 1 .. n */
export const upTo = (n: number): number[] => Array.from({ length: n }, (_, i) => i + 1);
