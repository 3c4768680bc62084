// The report of gpu-check.

import type { StepTimes } from "./checks.ts";

export interface Report {
  readonly parts: Record<string, Readonly<Record<string, unknown>>>;
  /** Names of checks. */
  readonly failed: string[];
  /** Names of parts for which there was no time, or not enough. */
  readonly not_done: string[];
  /** Whether all parts were done, and no check has failed. */
  pass: boolean;
}

/** The report with each step's share of the operations per second that large products reached. */
export function withShares<R extends Report>(report: R): R {
  const peak = report.parts["peak"]?.["tera_operations_per_second"];
  if (typeof peak !== "number" || peak <= 0) return report;
  const share = (times: StepTimes) => ({
    ...times,
    share_of_peak: Number((times.tera_operations_per_second / peak).toFixed(3)),
  });
  const parts = Object.entries(report.parts).map(([name, part]) => {
    const sizes = part["sizes"] as readonly StepTimes[] | undefined;
    return [name, sizes === undefined ? part : { ...part, sizes: sizes.map(share) }] as const;
  });
  return { ...report, parts: Object.fromEntries(parts) };
}
