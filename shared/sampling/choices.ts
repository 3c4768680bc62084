// The named choices of a sampler.

/**
 * How the steps of a run are spread over the diffusion process: over its last steps, over all of it, or as the original code base
 * does by its `infer_speed`, which has its own purity sampling, too.
 */
export const SCHEDULERS = ["reference", "strided", "original"] as const;
export type SchedulerName = (typeof SCHEDULERS)[number];
/**
 * Which masked pixels a step unmasks: those drawn by the reverse process or by purity sampling, those of which the model is
 * most certain, or the next ones of a fixed sequence that spreads over the image.
 */
export const ORDERS = ["posterior", "confidence", "halton"] as const;
export type OrderName = (typeof ORDERS)[number];
/** Purity sampling: off, positions drawn by the model's certainty, or classes sharpened by it as well. */
export const PRIOR_RULES = [0, 1, 2] as const;
export type PriorRule = (typeof PRIOR_RULES)[number];
