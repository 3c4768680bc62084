// Errors that cross a boundary: each has a stable code that clients and tests can rely on.

/** Codes of failures that reach a caller, in a prediction's `error` or in an HTTP response. */
export const ERROR_CODES = [
  "invalid_input",
  "malformed_body",
  "unauthorized",
  "forbidden",
  "rate_limited",
  "too_many_live",
  "storage_full",
  "quota_exceeded",
  "not_found",
  "idempotency_key_reused",
  "method_not_allowed",
  "precondition_failed",
  "payload_too_large",
  "unsupported_media_type",
  "too_many_readers",
  "queue_full",
  "queue_unavailable",
  "no_worker",
  "deadline_exceeded",
  "attempts_exhausted",
  "canceled",
  "images_expired",
  "no_receipt",
  "model_error",
  "output_too_large",
  "not_configured",
  "internal",
] as const;

export type ErrorCode = (typeof ERROR_CODES)[number];

/** What is wrong with an input: `path` is dotted, from the root of the body, such as `input.num_inference_steps`. */
export interface FieldError {
  readonly path: string;
  readonly message: string;
}

export interface VqdErrorOptions {
  cause?: unknown;
  /** Whether the same request can succeed later, unchanged. */
  retryable?: boolean;
  /** Seconds after which a retry makes sense. */
  retryAfterSeconds?: number;
  errors?: readonly FieldError[];
}

/** An error with a code; its message is written for the caller and never contains a prompt or a secret. */
export class VqdError extends Error {
  override readonly name = "VqdError";
  readonly code: ErrorCode;
  readonly retryable: boolean;
  readonly retryAfterSeconds: number | undefined;
  readonly errors: readonly FieldError[];

  constructor(code: ErrorCode, message: string, options: VqdErrorOptions = {}) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause });
    this.code = code;
    this.retryable = options.retryable ?? false;
    this.retryAfterSeconds = options.retryAfterSeconds;
    this.errors = options.errors ?? [];
  }
}
