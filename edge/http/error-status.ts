// HTTP statuses of the error codes.

import type { ErrorCode } from "@vqd/shared/errors.ts";

export type ErrorStatus =
  | 400
  | 401
  | 403
  | 404
  | 405
  | 409
  | 410
  | 412
  | 413
  | 415
  | 422
  | 429
  | 500
  | 503
  | 504;

export const ERROR_STATUS: Record<ErrorCode, ErrorStatus> = {
  malformed_body: 400,
  invalid_input: 422,
  unauthorized: 401,
  forbidden: 403,
  rate_limited: 429,
  too_many_live: 429,
  storage_full: 429,
  quota_exceeded: 429,
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
  no_receipt: 409,
  attempts_exhausted: 500,
  model_error: 500,
  output_too_large: 500,
  internal: 500,
};
