// One attempt to deliver a webhook: a signed request, of whose answer only the status matters.

import type { UrlRules } from "../../util/public-url.ts";
import { urlComplaint } from "../../util/public-url.ts";
import { type AttemptOutcome, parseRetryAfter } from "./schedule.ts";
import { webhookSignature } from "./sign.ts";

const USER_AGENT = "vqd-webhooks/1";

export interface Outgoing {
  readonly url: string;
  /** The webhook-id. */
  readonly id: string;
  /** JSON. */
  readonly body: string;
  /** All of them sign. */
  readonly secrets: readonly string[];
  readonly limitMs: number;
  readonly rules: UrlRules;
}

export interface Attempted extends AttemptOutcome {
  /** Whether the receiver has hung; undefined if nothing was sent. */
  readonly didHang: boolean | undefined;
}

/** Never rejects. A URL to which nothing may be sent gets nothing, and its outcome says so. */
export async function attempt({ url, id, body, secrets, limitMs, rules }: Outgoing): Promise<Attempted> {
  const failed = (error: string, didHang?: boolean): Attempted => ({
    status: null,
    error,
    retryAfterMs: null,
    didHang,
  });
  const complaint = urlComplaint(url, rules);
  if (complaint !== undefined) return failed(`the URL ${complaint}`);
  const now = Date.now();
  const timestamp = Math.floor(now / 1_000);
  try {
    const response = await fetch(url, {
      method: "POST",
      // A redirect could point anywhere.
      redirect: "manual",
      signal: AbortSignal.timeout(limitMs),
      headers: {
        "content-type": "application/json",
        "user-agent": USER_AGENT,
        "webhook-id": id,
        "webhook-timestamp": String(timestamp),
        "webhook-signature": await webhookSignature(secrets, { id, timestamp, body }),
      },
      body,
    });
    await response.body?.cancel();
    const { status, headers } = response;
    const isRedirect = status >= 300 && status < 400;
    return {
      status,
      error: isRedirect ? "redirects are not followed" : null,
      retryAfterMs: parseRetryAfter(headers.get("retry-after"), now),
      didHang: false,
    };
  } catch (error) {
    const isTimeout = error instanceof Error && error.name === "TimeoutError";
    return failed(isTimeout ? `no response within ${limitMs / 1_000} s` : "no connection", isTimeout);
  }
}
