// The Cancel-After header: how long after its creation a prediction is canceled automatically.

import { invalidInput } from "./body/validation.ts";

const DURATION = /^(?:(\d{1,4})h)?(?:(\d{1,6})m)?(?:(\d{1,7})s?)?$/;
const MIN_MS = 1_000;
const MAX_MS = 24 * 3_600_000;

/** Parses `90`, `30s`, `2m` or `1h30m` into ms; null without a header. Throws a VqdError (invalid_input). */
export function cancelAfterMs(header: string | undefined): number | null {
  const text = header?.trim().toLowerCase();
  if (text === undefined || text === "") return null;
  const [, hours, minutes, seconds] = DURATION.exec(text) ?? [];
  const ms = (Number(hours ?? 0) * 3_600 + Number(minutes ?? 0) * 60 + Number(seconds ?? 0)) * 1_000;
  if (ms >= MIN_MS && ms <= MAX_MS) return ms;
  const message = "must be a duration from 1s to 24h, such as 30s, 2m or 1h30m";
  throw invalidInput([{ path: "Cancel-After", message }]);
}
