// A job as an edge makes it, where a test or a bench says only what matters to it.

import { newPredictionId } from "../../shared/ids.ts";
import type { Job } from "../../shared/job.ts";

/** One image of a model in ten steps, by the API's defaults, to be done within a minute. */
export function makeJob({
  shard = 0,
  ...changes
}: Partial<Job> & Pick<Job, "model" | "version" | "prompts">): Job {
  const createdAt = Date.now();
  return {
    v: 1,
    id: newPredictionId(shard),
    shard,
    createdAt,
    deadlineAt: createdAt + 60_000,
    negativePrompt: null,
    numInferenceSteps: 10,
    guidanceScale: 5,
    truncationRate: 1,
    numImagesPerPrompt: 1,
    seed: 1,
    scheduler: "reference",
    priorRule: 0,
    priorWeight: 0,
    outputFormat: "png",
    outputQuality: 80,
    previews: 0,
    ...changes,
  };
}
