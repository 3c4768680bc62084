// Monthly quotas: what an owner has used, and what is reserved for predictions that have not ended, against the limits of a key.

import type { QuotaName, Quotas } from "@vqd/shared/api-key.ts";
import { QuotaRefusal, type QuotaState } from "../../prediction/accounting/quota.ts";
import { dateOf } from "../../prediction/accounting/usage.ts";
import type { PredictionStore } from "../storage/store.ts";
import { workerSeconds } from "./pace.ts";
import { LIVE_RETRY_SECONDS } from "./rate-limiter.ts";

const UNITS: Record<QuotaName, string> = {
  images: "images",
  steps: "steps of images",
  gpu_seconds: "seconds of workers",
};

/** What a new prediction asks for. */
export interface Wanted {
  readonly version: string;
  readonly images: number;
  readonly imageSteps: number;
}

type Amounts = Record<QuotaName, number>;

const isLimited = (quotas: Quotas): boolean => Object.keys(quotas).length > 0;

/** How far the owner is with each quota. */
export function quotaStates(
  store: PredictionStore,
  keyName: string,
  quotas: Quotas,
  now: number,
): QuotaState[] {
  if (!isLimited(quotas)) return [];
  const at = new Date(now);
  const [first, next] = [0, 1].map((more) => Date.UTC(at.getUTCFullYear(), at.getUTCMonth() + more, 1));
  const range = { from: dateOf(first ?? now), to: dateOf(now) };
  const used: Amounts = { images: 0, steps: 0, gpu_seconds: 0 };
  for (const { images, steps, gpuMs } of store.usage.byDay(keyName, range)) {
    used.images += images;
    used.steps += steps;
    used.gpu_seconds += gpuMs / 1_000;
  }
  const reserved: Amounts = { images: 0, steps: 0, gpu_seconds: 0 };
  for (const { version, images, steps, gpuMs } of store.usage.reservedBy(keyName)) {
    reserved.images += images;
    reserved.steps += steps;
    reserved.gpu_seconds += Math.max(gpuMs / 1_000, workerSeconds(store.queue, version, steps));
  }
  return Object.entries(quotas).map(([key, limit]) => {
    const name = key as QuotaName;
    return { name, limit, used: used[name], reserved: rounded(reserved[name]), resetsAt: next ?? now };
  });
}

/**
 * Refuses a prediction with which the owner might use more than a quota of its key allows. Call in one go with storing it: what is live
 * is what is reserved. Throws a QuotaRefusal, which is retryable as long as predictions that have not ended may leave enough.
 */
export function admitToQuotas(
  store: PredictionStore,
  keyName: string,
  quotas: Quotas,
  { version, images, imageSteps }: Wanted,
  now: number,
): void {
  if (!isLimited(quotas)) return;
  const wanted: Amounts = {
    images,
    steps: imageSteps,
    gpu_seconds: rounded(workerSeconds(store.queue, version, imageSteps)),
  };
  for (const quota of quotaStates(store, keyName, quotas, now)) {
    const { name, limit, used, reserved, resetsAt } = quota;
    // As long as nothing is known of a model's pace its seconds are not, but that there are some is.
    const more = wanted[name] || Number.EPSILON;
    if (used + reserved + more <= limit) continue;
    const message =
      `the key is limited to ${limit} ${UNITS[name]} a month (${name}): ${rounded(used)} are used, ${reserved} reserved for ` +
      `predictions that have not ended, and this one asks for ${wanted[name]}; the next month begins at ${new Date(resetsAt).toISOString()}`;
    const retryable = used + more <= limit;
    throw new QuotaRefusal(message, quota, {
      retryable,
      retryAfterSeconds: retryable ? LIVE_RETRY_SECONDS : Math.ceil((resetsAt - now) / 1_000),
    });
  }
}

/** Seconds to the millisecond. */
const rounded = (amount: number): number => Math.round(amount * 1_000) / 1_000;
