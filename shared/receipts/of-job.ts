// What a receipt says of an image that a job makes.

import { imageCount, type Job } from "../job.ts";
import { outOfBounds } from "../out-of-bounds.ts";
import { fromJsonSeed, placeOfSeed } from "../sampling/seed.ts";
import type { Receipt } from "./receipt.ts";

/** What the job alone says of its image `index`. */
export function settingsOfImage(
  job: Job,
  index: number,
): Omit<Receipt, "numericsId" | "firstStep" | "held" | "chain"> {
  const seeds = job.seeds ?? new Array<Job["seed"]>(imageCount(job)).fill(job.seed);
  const { version, negativePrompt, numInferenceSteps, guidanceScale, truncationRate } = job;
  const { scheduler, priorRule, priorWeight } = job;
  return {
    v: 1,
    version,
    prompt: job.prompts[Math.floor(index / job.numImagesPerPrompt)] ?? outOfBounds(),
    negativePrompt,
    numInferenceSteps,
    guidanceScale,
    truncationRate,
    temperature: job.temperature ?? 1,
    scheduler,
    ...(job.inferSpeed === undefined ? {} : { inferSpeed: job.inferSpeed }),
    order: job.order ?? "posterior",
    remasking: job.remasking ?? 0,
    priorRule,
    priorWeight,
    seed: seeds[index] ?? outOfBounds(),
    place: placeOfSeed(seeds.map(fromJsonSeed), index),
  };
}
