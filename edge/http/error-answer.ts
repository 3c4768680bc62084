// The HTTP response to an error, in the dialect of its route.

import type { VqdError } from "@vqd/shared/errors.ts";
import { openaiError, openaiStatus } from "../openai/errors.ts";
import { CONTENT_ENCODING, ENCODINGS } from "./content-encoding.ts";
import { ERROR_STATUS, type ErrorStatus } from "./error-status.ts";
import { problemOf } from "./problem.ts";

/**
 * `problem`: problem details. `openai`: OpenAI's error. `both`: problem details with OpenAI's object as an extension
 * member, for resources that both kinds of client read.
 */
export type ErrorDialect = "problem" | "openai" | "both";

export interface ErrorAnswer {
  readonly status: ErrorStatus;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

function bodyOf(error: VqdError, status: ErrorStatus, dialect: ErrorDialect, requestId: string): object {
  if (dialect === "problem") return problemOf(error, status, requestId);
  const openai = { error: openaiError(error, status) };
  return dialect === "openai" ? openai : { ...problemOf(error, status, requestId), ...openai };
}

/** The response to `error`. */
export function answerOf(error: VqdError, dialect: ErrorDialect, requestId: string): ErrorAnswer {
  const status = dialect === "openai" ? openaiStatus(error) : ERROR_STATUS[error.code];
  const { retryAfterSeconds } = error;
  return {
    status,
    headers: {
      "content-type": dialect === "openai" ? "application/json" : "application/problem+json",
      "cache-control": "no-store",
      // OpenAI's clients go by the status unless told whether to retry.
      "x-should-retry": String(error.retryable),
      ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }),
      // RFC 7694: only if the encoding is the reason.
      ...(status === 415 && error.errors[0]?.path === CONTENT_ENCODING
        ? { "accept-encoding": ENCODINGS.join(", ") }
        : {}),
      ...(status === 401 ? { "www-authenticate": 'Bearer realm="vqd"' } : {}),
    },
    body: JSON.stringify(bodyOf(error, status, dialect, requestId)),
  };
}
