// The HTTP response to an error, in the dialect of its route.

import type { VqdError } from "@vqd/shared/errors.ts";
import { CONTENT_ENCODING, ENCODINGS } from "./body/content-encoding.ts";
import type { ErrorStatus } from "./error-status.ts";

/** How a kind of client expects errors. */
export interface ErrorDialect {
  readonly contentType: string;
  readonly statusOf: (error: VqdError) => ErrorStatus;
  readonly bodyOf: (error: VqdError, status: ErrorStatus, requestId: string) => object;
}

export interface ErrorAnswer {
  readonly status: ErrorStatus;
  readonly headers: Readonly<Record<string, string>>;
  readonly body: string;
}

/** The response to `error`. */
export function answerOf(error: VqdError, dialect: ErrorDialect, requestId: string): ErrorAnswer {
  const status = dialect.statusOf(error);
  const { retryAfterSeconds } = error;
  return {
    status,
    headers: {
      "content-type": dialect.contentType,
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
    body: JSON.stringify(dialect.bodyOf(error, status, requestId)),
  };
}
