// What an owner has used, in all hubs: those of an owner whose shard has changed with their number are in several.

import { unwrap } from "../prediction/hub-result.ts";
import type { DateRange, UsageOfDay } from "../prediction/usage.ts";
import type { Hubs } from "./hubs.ts";

/** In the order of days, then models. Throws a VqdError (rate_limited). */
export async function usageOf(hubs: Hubs, keyName: string, range: DateRange): Promise<UsageOfDay[]> {
  const parts = await hubs.ofAll(async (hub) => unwrap(await hub.usage(keyName, range)));
  const sums = new Map<string, UsageOfDay>();
  for (const used of parts.flat()) {
    const place = `${used.date} ${used.model}`;
    const known = sums.get(place);
    sums.set(place, known === undefined ? used : sumOf(known, used));
  }
  return [...sums.entries()].toSorted(([a], [b]) => (a < b ? -1 : 1)).map(([, used]) => used);
}

const sumOf = (a: UsageOfDay, b: UsageOfDay): UsageOfDay => ({
  date: a.date,
  model: a.model,
  predictions: a.predictions + b.predictions,
  images: a.images + b.images,
  steps: a.steps + b.steps,
  gpuMs: a.gpuMs + b.gpuMs,
});
