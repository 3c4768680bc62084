// What a time of load comes to: throughput, latencies, refusals, and how evenly the callers were served.

import { percentile } from "../edge/percentile.ts";
import { CALLERS } from "./callers.ts";
import type { Done, Outcome } from "./client.ts";

/** Unix times in ms. */
export interface Window {
  readonly from: number;
  readonly to: number;
}

/**
 * Images made within the window. Those of a job count evenly over the time that it ran, so that one of ten images
 * that ends just after the window is not lost to it.
 */
export function imagesWithin(jobs: readonly Done[], { from, to }: Window): number {
  return jobs.reduce((sum, { caller, startedAt, completedAt }) => {
    const overlap = Math.min(completedAt, to) - Math.max(startedAt, from);
    return sum + caller.images * Math.max(0, overlap / Math.max(1, completedAt - startedAt));
  }, 0);
}

/** Jain's index of fairness: 1 if all have the same, 1/n if one has all. (Jain, Chiu, Hawe 1984) */
export function jainIndex(shares: readonly number[]): number {
  const sum = shares.reduce((total, share) => total + share, 0);
  const squares = shares.reduce((total, share) => total + share * share, 0);
  return squares === 0 ? 1 : (sum * sum) / (shares.length * squares);
}

export const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

/** Latencies of the finished jobs of one size. */
export interface ClassSummary {
  readonly jobs: number;
  /** ms */
  readonly p50: number;
  readonly p95: number;
  /** Latency over what the job takes on an idle system: mean, and of the slowest twentieth the least. */
  readonly slowdown: number;
  readonly slowdown_p95: number;
}

export function summariseClass(jobs: readonly Done[], aloneMs: number): ClassSummary {
  const sorted = jobs.map(({ latencyMs }) => latencyMs).toSorted((a, b) => a - b);
  const mean = sorted.reduce((sum, ms) => sum + ms, 0) / sorted.length;
  const ratio = (ms: number): number => Math.round((100 * ms) / aloneMs) / 100;
  return {
    jobs: jobs.length,
    p50: Math.round(percentile(sorted, 0.5)),
    p95: Math.round(percentile(sorted, 0.95)),
    slowdown: ratio(mean),
    slowdown_p95: ratio(percentile(sorted, 0.95)),
  };
}

export function countBy<T>(items: readonly T[], key: (item: T) => string): Record<string, number> {
  const counts: Record<string, number> = {};
  for (const item of items) counts[key(item)] = (counts[key(item)] ?? 0) + 1;
  return counts;
}

/** Jain's index over the callers: of the share of their images that was made, and of their mean slowdown. */
export function fairness(outcomes: readonly Outcome[], aloneMs: (images: number) => number) {
  const asked = CALLERS.map((caller) => outcomes.filter((outcome) => outcome.caller.name === caller.name));
  const active = asked.filter((own) => own.length > 0);
  const served = active.map((own) => own.filter(({ kind }) => kind === "done").length / own.length);
  const slowdowns = active.flatMap((own) => {
    const ratios = own.flatMap((one) =>
      one.kind === "done" ? [one.latencyMs / aloneMs(one.caller.images)] : [],
    );
    return ratios.length === 0 ? [] : [ratios.reduce((sum, ratio) => sum + ratio, 0) / ratios.length];
  });
  const round = (value: number): number => Math.round(value * 1_000) / 1_000;
  return { jain_served: round(jainIndex(served)), jain_slowdown: round(jainIndex(slowdowns)) };
}
