// Rate limit headers: those of the IETF draft (RateLimit), and OpenAI's.

import type { AppContext } from "./context.ts";
import type { RateState } from "../prediction/rate-state.ts";

const POLICY = "predictions";
const WINDOW_SECONDS = 60;

export function setRateHeaders(c: AppContext, { limit, remaining, resetMs }: RateState): void {
  const resetSeconds = Math.ceil(resetMs / 1_000);
  c.header("ratelimit-policy", `"${POLICY}";q=${limit};w=${WINDOW_SECONDS}`);
  c.header("ratelimit", `"${POLICY}";r=${remaining};t=${resetSeconds}`);
  c.header("x-ratelimit-limit-requests", String(limit));
  c.header("x-ratelimit-remaining-requests", String(remaining));
  c.header("x-ratelimit-reset-requests", `${resetSeconds}s`);
}
