// Errors as HTTP: the one mapping from codes to statuses, in the dialect of the endpoint.

import type { ErrorCode, VqdError } from "@vqd/shared/errors.ts";

/**
 * `problem`: RFC 9457. `openai`: `{error: {message, type, param, code}}`. `both`: a problem with OpenAI's object
 * as an extension member, for the resource that both kinds of client read.
 */
export type ErrorDialect = "problem" | "openai" | "both";

type ErrorStatus = 400 | 401 | 403 | 404 | 405 | 409 | 410 | 412 | 413 | 415 | 422 | 429 | 500 | 503 | 504;

const STATUS: Record<ErrorCode, ErrorStatus> = {
  malformed_body: 400,
  invalid_input: 422,
  unauthorized: 401,
  forbidden: 403,
  rate_limited: 429,
  too_many_live: 429,
  not_found: 404,
  idempotency_key_reused: 422,
  method_not_allowed: 405,
  precondition_failed: 412,
  payload_too_large: 413,
  unsupported_media_type: 415,
  too_many_readers: 503,
  queue_full: 503,
  queue_unavailable: 503,
  no_worker: 503,
  not_configured: 503,
  deadline_exceeded: 504,
  canceled: 409,
  images_expired: 410,
  attempts_exhausted: 500,
  model_error: 500,
  output_too_large: 500,
  internal: 500,
};

const TITLES: Record<ErrorStatus, string> = {
  400: "Bad Request",
  401: "Unauthorized",
  403: "Forbidden",
  404: "Not Found",
  405: "Method Not Allowed",
  409: "Conflict",
  410: "Gone",
  412: "Precondition Failed",
  413: "Payload Too Large",
  415: "Unsupported Media Type",
  422: "Unprocessable Content",
  429: "Too Many Requests",
  500: "Internal Server Error",
  503: "Service Unavailable",
  504: "Gateway Timeout",
};

/** Codes that OpenAI's own API uses for the same failure. */
const OPENAI_CODES: Partial<Record<ErrorCode, string>> = {
  unauthorized: "invalid_api_key",
  forbidden: "insufficient_permissions",
  rate_limited: "rate_limit_exceeded",
  too_many_live: "rate_limit_exceeded",
  not_found: "unknown_url",
  method_not_allowed: "method_not_supported",
  malformed_body: "invalid_json",
  invalid_input: "invalid_value",
};

export interface ErrorAnswer {
  readonly status: ErrorStatus;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

function problemOf(error: VqdError, status: ErrorStatus, requestId: string): Record<string, unknown> {
  return {
    title: TITLES[status],
    status,
    detail: error.message,
    code: error.code,
    request_id: requestId,
    ...(error.errors.length === 0 ? {} : { errors: error.errors }),
  };
}

const statusOf = (error: VqdError, dialect: ErrorDialect): ErrorStatus =>
  // OpenAI's API has no 422: a wrong value is a bad request there.
  dialect === "openai" && STATUS[error.code] === 422 ? 400 : STATUS[error.code];

/** OpenAI's error object. */
export function openaiErrorOf(
  error: VqdError,
  status: number = statusOf(error, "openai"),
): Record<string, unknown> {
  // What is wrong with the body as a whole has the empty path.
  const param = error.errors[0]?.path || null;
  const code =
    error.code === "not_found" && param === "model"
      ? "model_not_found"
      : (OPENAI_CODES[error.code] ?? error.code);
  return {
    message: error.message,
    type: status >= 500 ? "server_error" : status === 429 ? "requests" : "invalid_request_error",
    param,
    code,
  };
}

/** What to answer for `error`. */
export function answerOf(error: VqdError, dialect: ErrorDialect, requestId: string): ErrorAnswer {
  const status = statusOf(error, dialect);
  const problem = (): Record<string, unknown> => problemOf(error, status, requestId);
  const openai = { error: openaiErrorOf(error, status) };
  const body =
    dialect === "problem" ? problem() : dialect === "openai" ? openai : Object.assign(problem(), openai);
  const { retryAfterSeconds } = error;
  return {
    status,
    headers: {
      "content-type": dialect === "openai" ? "application/json" : "application/problem+json",
      "cache-control": "no-store",
      // openai clients retry by status unless told.
      "x-should-retry": String(error.retryable),
      ...(retryAfterSeconds === undefined ? {} : { "retry-after": String(retryAfterSeconds) }),
      ...(status === 401 ? { "www-authenticate": 'Bearer realm="vqd"' } : {}),
    },
    body: JSON.stringify(body),
  };
}
