// Errors in OpenAI's format: `{error: {message, type, param, code}}`.

import type { ErrorCode, VqdError } from "@vqd/shared/errors.ts";
import type { ErrorDialect } from "../http/error-answer.ts";
import { ERROR_STATUS, type ErrorStatus } from "../http/error-status.ts";
import { PROBLEMS } from "../http/problem.ts";

/** OpenAI's code and type where a month is used up, unlike a minute. */
const INSUFFICIENT_QUOTA = "insufficient_quota";

/** The codes that OpenAI's API uses for the same failures. */
const OPENAI_CODES: Partial<Record<ErrorCode, string>> = {
  unauthorized: "invalid_api_key",
  forbidden: "insufficient_permissions",
  rate_limited: "rate_limit_exceeded",
  too_many_live: "rate_limit_exceeded",
  quota_exceeded: INSUFFICIENT_QUOTA,
  not_found: "unknown_url",
  method_not_allowed: "method_not_supported",
  malformed_body: "invalid_json",
  invalid_input: "invalid_value",
};

/** OpenAI's API has no 422: it answers an invalid value with 400. */
function openaiStatus(error: VqdError): ErrorStatus {
  const status = ERROR_STATUS[error.code];
  return status === 422 ? 400 : status;
}

function typeOf(status: ErrorStatus, code: string): string {
  if (status >= 500) return "server_error";
  if (status !== 429) return "invalid_request_error";
  return code === INSUFFICIENT_QUOTA ? code : "requests";
}

/** The error object; `status` is that of the response. */
export function openaiError(error: VqdError, status = openaiStatus(error)): Record<string, unknown> {
  // An error about the body as a whole has an empty path.
  const param = error.errors[0]?.path || null;
  const code =
    error.code === "not_found" && param === "model"
      ? "model_not_found"
      : (OPENAI_CODES[error.code] ?? error.code);
  return {
    message: error.message,
    type: typeOf(status, code),
    param,
    code,
  };
}

export const OPENAI_ERRORS: ErrorDialect = {
  contentType: "application/json",
  statusOf: openaiStatus,
  bodyOf: (error, status) => ({ error: openaiError(error, status) }),
};

/** Problem details with OpenAI's object as an extension member, for resources that both kinds of client read. */
export const PROBLEMS_AND_OPENAI_ERRORS: ErrorDialect = {
  ...PROBLEMS,
  bodyOf: (error, status, requestId) => ({
    ...PROBLEMS.bodyOf(error, status, requestId),
    error: openaiError(error, status),
  }),
};
