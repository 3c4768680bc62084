// Headers by which a caller says how its prediction is to be treated.

import type { Idempotency } from "./hub/records.ts";
import { encodeHex } from "./bytes.ts";
import { invalidInput } from "./validation.ts";

const MIN_CANCEL_SECONDS = 5;
const MAX_CANCEL_SECONDS = 24 * 60 * 60;
const UNIT_SECONDS = { s: 1, m: 60, h: 3_600 } as const;
const IDEMPOTENCY_KEY = /^[\x21-\x7e]{1,255}$/;

/** ms of a Cancel-After header, such as `30s`, `2m`, `1h` or `90`; null without one. Throws a VqdError (invalid_input). */
export function cancelAfterMs(header: string | undefined): number | null {
  if (header === undefined) return null;
  const [, amount = "", unit = "s"] = /^\s*(\d{1,6})\s*([smh]?)\s*$/i.exec(header) ?? [];
  const seconds = Number(amount) * UNIT_SECONDS[(unit.toLowerCase() || "s") as keyof typeof UNIT_SECONDS];
  if (amount === "" || seconds < MIN_CANCEL_SECONDS || seconds > MAX_CANCEL_SECONDS) {
    const message = `must be a duration from ${MIN_CANCEL_SECONDS}s to 24h, such as 30s or 2m`;
    throw invalidInput([{ path: "cancel-after", message }]);
  }
  return seconds * 1_000;
}

/** The Idempotency-Key header with the hash of what it stands for; null without one. Throws a VqdError (invalid_input). */
export async function idempotencyOf(
  header: string | undefined,
  request: unknown,
): Promise<Idempotency | null> {
  if (header === undefined) return null;
  if (!IDEMPOTENCY_KEY.test(header)) {
    const message = "must be 1 to 255 visible ASCII characters";
    throw invalidInput([{ path: "idempotency-key", message }]);
  }
  const bytes = new TextEncoder().encode(JSON.stringify(request));
  const digest = await crypto.subtle.digest("SHA-256", bytes);
  return { key: header, requestHash: encodeHex(new Uint8Array(digest)) };
}
