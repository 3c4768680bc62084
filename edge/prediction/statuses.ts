// The statuses of a prediction, which are Replicate's.

/** `aborted`: canceled by its Cancel-After before it started. */
export const PREDICTION_STATUSES = [
  "starting",
  "processing",
  "succeeded",
  "failed",
  "canceled",
  "aborted",
] as const;
export type PredictionStatus = (typeof PREDICTION_STATUSES)[number];

export const isFinal = (status: PredictionStatus): boolean =>
  status !== "starting" && status !== "processing";
