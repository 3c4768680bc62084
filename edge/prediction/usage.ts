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

/** Days, such as "2026-11-29", both of them included. */
export interface DateRange {
  readonly from: string;
  readonly to: string;
}

const ISO_DATE_CHARS = 10;

/** The UTC date of a time, given in ms. */
export const dateOf = (ms: number): string => new Date(ms).toISOString().slice(0, ISO_DATE_CHARS);
