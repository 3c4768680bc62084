// What an owner has used: of predictions, images, steps and the time of workers.

export interface Usage {
  /** Predictions that have ended, however. */
  readonly predictions: number;
  /** Images that were delivered. */
  readonly images: number;
  /** Steps of images: one that several attempts have made counts once, and one that a source has spared not at all. */
  readonly steps: number;
  /** How long workers had the predictions, in ms. */
  readonly gpuMs: number;
}

export interface UsageOfDay extends Usage {
  /** UTC, such as "2026-11-29". */
  readonly date: string;
  /** `owner/name` */
  readonly model: string;
}

/** What a prediction has used that has ended. */
export interface UsageLine extends Omit<Usage, "predictions"> {
  /** Its number among the lines of its hub, which only grows. */
  readonly seq: number;
  readonly id: string;
  readonly owner: string;
  /** Of the key it was made with; empty for one of an earlier release. */
  readonly keyId: string;
  readonly model: string;
  readonly version: string;
  /** The one that it ended with. */
  readonly status: string;
  /** Unix times in ms. */
  readonly createdAt: number;
  readonly completedAt: number;
}

/** Days, such as "2026-11-29", both of them included. */
export interface DateRange {
  readonly from: string;
  readonly to: string;
}

const ISO_DATE_CHARS = 10;

/** The UTC date of a time, given in ms. */
export const dateOf = (ms: number): string => new Date(ms).toISOString().slice(0, ISO_DATE_CHARS);
