// What a receipt of an image says, from what its prediction began with and the steps that are recorded.

import { VqdError } from "@vqd/shared/errors.ts";
import { settingsOfImage } from "@vqd/shared/receipts/of-job.ts";
import type { Config } from "../config.ts";
import type { UnsignedReceipt } from "../prediction/records.ts";
import type { PredictionRow } from "./storage/prediction-row.ts";
import type { PredictionStore } from "./storage/store.ts";

/** Throws a VqdError: no_receipt with the reason, or invalid_input that names `index`. */
export function unsignedReceipt(
  store: PredictionStore,
  row: PredictionRow,
  index: number,
  { stepRetentionMs }: Pick<Config, "stepRetentionMs">,
): UnsignedReceipt {
  const refuse = (reason: string): never => {
    throw new VqdError("no_receipt", reason);
  };
  const { id, status, images, completedAt, numericsId, totalSteps } = row;
  if (index >= images) {
    const message = `must be below the number of images, ${images}`;
    throw new VqdError("invalid_input", `index ${message}`, { errors: [{ path: "index", message }] });
  }
  if (completedAt === null) return refuse("the prediction has not ended yet");
  if (status !== "succeeded" || numericsId === null) {
    return refuse("only predictions that have succeeded have receipts");
  }
  const beginning = store.beginnings.get(id);
  if (beginning === undefined) {
    return refuse(
      Date.now() >= completedAt + stepRetentionMs
        ? `steps, of which a receipt is made, are kept for ${stepRetentionMs / 1_000} s after a prediction's end`
        : "what it began with is not recorded: receipts were off, or its worker is of an earlier release",
    );
  }
  const { job, step: firstStep, held, tokens } = beginning;
  if (firstStep === totalSteps) return refuse("it has made no step, but decoded tokens");
  const size = tokens.length / images;
  const states = [tokens.slice(index * size, (index + 1) * size)];
  const recorded = store.events.statesOf(id, index);
  for (let step = firstStep + 1; step <= totalSteps; step++) {
    states.push(recorded.get(step) ?? refuse(`step ${step} is not recorded`));
  }
  return { receipt: { ...settingsOfImage(job, index), numericsId, firstStep, held }, states };
}
