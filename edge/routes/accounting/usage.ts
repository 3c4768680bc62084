// What the key's owner has used.

import { invalidInput } from "../../http/body/validation.ts";
import type { AppContext } from "../../http/context.ts";
import { unwrap } from "../../prediction/hub-result.ts";
import { viewQuota } from "../../prediction/accounting/quota.ts";
import { type DateRange, dateOf } from "../../prediction/accounting/usage.ts";

const DAY_MS = 86_400_000;
export const MAX_DAYS = 366;

/** A date as ms; undefined if there is none. Throws a VqdError (invalid_input). */
function dateParameter(c: AppContext, name: string): number | undefined {
  const text = c.req.query(name);
  if (text === undefined || text === "") return undefined;
  const ms = /^\d{4}-\d{2}-\d{2}$/.test(text) ? Date.parse(`${text}T00:00:00Z`) : Number.NaN;
  // JavaScript takes the 31st of February for a day in March.
  if (Number.isNaN(ms) || dateOf(ms) !== text) {
    throw invalidInput([{ path: name, message: "must be a date such as 2026-11-29" }]);
  }
  return ms;
}

/** Reads `from` and `to`, by default the month of `to` up to it, and today. Throws a VqdError (invalid_input). */
function dateRange(c: AppContext, now: number): DateRange {
  const [first, last] = [dateParameter(c, "from"), dateParameter(c, "to")];
  const to = last ?? Math.max(now, first ?? now);
  const from = first ?? Date.parse(`${dateOf(to).slice(0, -2)}01T00:00:00Z`);
  if (from > to) throw invalidInput([{ path: "from", message: "must not be after to" }]);
  if (to - from >= MAX_DAYS * DAY_MS) {
    throw invalidInput([{ path: "from", message: `must be less than ${MAX_DAYS} days before to` }]);
  }
  return { from: dateOf(from), to: dateOf(to) };
}

/** `GET /v1/usage` */
export async function getUsage(c: AppContext): Promise<Response> {
  const range = dateRange(c, Date.now());
  const [hubs, keyName, { quotas }] = [c.get("hubs"), c.get("keyName"), c.get("apiKey")];
  const used = unwrap(await hubs.own.usage(keyName, range));
  const states = quotas === undefined ? [] : unwrap(await hubs.own.quotas(keyName, quotas));
  c.header("cache-control", "no-store");
  return c.json({
    object: "list",
    ...range,
    data: used.map(({ date, model, predictions, images, steps, gpuMs }) => ({
      date,
      model,
      predictions,
      images,
      steps,
      gpu_seconds: gpuMs / 1_000,
    })),
    quotas: states.map(viewQuota),
  });
}
