// Types of the client besides those of the API (api.d.ts).

import type { components } from "./api.d.ts";

type Schemas = components["schemas"];

export type Prediction = Schemas["Prediction"];
export type CreatePrediction = Schemas["CreatePrediction"];
export type Input = Schemas["Input"];
export type Model = Schemas["Model"];

export interface FieldError {
  /** Dotted path from the root of the request's body. */
  readonly path: string;
  readonly message: string;
}

export interface ClientOptions {
  /** Where the service is, with or without a path: `https://vqd.example.com`. */
  readonly baseUrl: string;
  /** An API key; null for what needs none. A function is asked before each request. */
  readonly apiKey?: string | null | (() => string | null);
  readonly fetch?: typeof fetch;
}

export interface RequestOptions {
  /** Sent as JSON; makes it a POST. */
  readonly body?: unknown;
  readonly method?: string;
  readonly headers?: Record<string, string>;
  readonly signal?: AbortSignal;
  /** Instead of the client's key; null for none. */
  readonly apiKey?: string | null;
}

export interface CreateOptions extends Omit<CreatePrediction, "input"> {
  /** The same key returns the same prediction, however often the request is sent. */
  readonly idempotencyKey?: string;
  readonly signal?: AbortSignal;
}

export interface EventsOptions {
  /** Id of the last event that is known: those after it follow. */
  readonly after?: number;
  readonly signal?: AbortSignal;
  /** Called when the connection is lost, before it is opened again. */
  readonly onDisconnect?: () => void;
  /** How long to try to connect again, in ms; five minutes by default. */
  readonly giveUpAfterMs?: number;
}

/** Colours of a model's tokens. */
export interface Palette {
  /** The token that stands for a masked pixel. */
  readonly mask: number;
  /** In tokens. */
  readonly width: number;
  readonly height: number;
  /** Three bytes per token. */
  readonly rgb: Uint8Array;
}

interface EventOf<Type extends string, Data> {
  /** Counts from 1. */
  readonly id: number;
  readonly type: Type;
  readonly data: Data;
}

/** An event of a prediction, in the order in which they happened. `done` is the last one. */
export type PredictionEvent =
  | EventOf<"started", { attempt: number; total: number; resumed_from: number; numerics_id: string }>
  | EventOf<
      "step",
      {
        step: number;
        total: number;
        timestep: number;
        /** How many tokens of all images are still masked. */
        masked: number;
        images: number;
        /** Those of each image, row by row. */
        tokens: Uint16Array[];
      }
    >
  | EventOf<"preview", { index: number; preview: number; step: number; url: string }>
  | EventOf<"output", { index: number; url: string }>
  | EventOf<"logs", string>
  | EventOf<"error", { detail: string; code: string }>
  | EventOf<"done", { status: Prediction["status"]; reason?: string }>;
