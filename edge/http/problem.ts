// Errors as problem details (RFC 9457).

import type { VqdError } from "@vqd/shared/errors.ts";
import type { ErrorDialect } from "./error-answer.ts";
import { QuotaRefusal, viewQuota } from "../prediction/accounting/quota.ts";
import { ERROR_STATUS, type ErrorStatus } from "./error-status.ts";

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

/** Members of the problem object; `errors` has one entry per invalid field. */
function problemOf(error: VqdError, status: ErrorStatus, requestId: string): Record<string, unknown> {
  return {
    title: TITLES[status],
    status,
    detail: error.message,
    code: error.code,
    request_id: requestId,
    ...(error instanceof QuotaRefusal ? { quota: viewQuota(error.quota) } : {}),
    ...(error.errors.length === 0 ? {} : { errors: error.errors }),
  };
}

export const PROBLEMS: ErrorDialect = {
  contentType: "application/problem+json",
  statusOf: ({ code }) => ERROR_STATUS[code],
  bodyOf: problemOf,
};
