// Checks a worker's event against the prediction it belongs to.

import type { Framed } from "@vqd/shared/codec.ts";
import type { PredictionEvent } from "@vqd/shared/events.ts";
import { OUTPUT_FORMATS } from "@vqd/shared/job.ts";
import { MAX_LATENT_PIXELS } from "@vqd/shared/limits.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { z } from "zod";
import type { FileEvent } from "../storage/files.ts";
import type { PredictionRow } from "../storage/prediction-row.ts";

/** Maximum number of events of a prediction. A thousand steps take about 1,200, and so does each attempt that starts over. */
const MAX_EVENTS = 10_000;
const BYTES_PER_TOKEN = 2;

/** The fields of a prediction's input that its images must match. */
const askedSchema = z.object({
  output_format: z.enum(OUTPUT_FORMATS),
  // Tokens that are only decoded have none.
  num_previews: z.int().default(0),
  // Null or, in inputs of earlier releases, absent: the model's own.
  width: z.int().nullish(),
  height: z.int().nullish(),
});

/**
 * How the event contradicts the prediction; undefined if it does not. `model` is undefined if its manifest is no longer
 * known: then sizes are not checked. The text is safe for logs and callers: it contains only numbers and format names.
 */
export function contradictionOf(
  row: PredictionRow,
  model: ModelManifest | undefined,
  { value: event, attachment }: Framed<PredictionEvent>,
): string | undefined {
  if (row.eventSeq >= MAX_EVENTS) return `more than ${MAX_EVENTS} events`;
  if ("total" in event && event.total !== row.totalSteps) {
    return `${event.total} steps in total instead of ${row.totalSteps}`;
  }
  switch (event.type) {
    case "started":
      if (event.resumedFrom > row.totalSteps) return `a start after step ${event.resumedFrom}`;
      break;
    case "beginning": {
      const { step, images, held } = event;
      if (step > row.totalSteps) return `a beginning after step ${step} of ${row.totalSteps}`;
      const pixels = attachment.length / BYTES_PER_TOKEN / images;
      if (held !== null && held.length !== pixels) return `${held.length} of ${pixels} pixels held`;
      return stateContradiction(row, model, images, attachment);
    }
    case "step": {
      const { step, images, masked, timestep } = event;
      if (!isStep(row, step)) return `step ${step} of ${row.totalSteps}`;
      const pixels = pixelsOf(model, images);
      if (masked > pixels) return `${masked} masked pixels of ${pixels}`;
      if (timestep >= (model?.numTrainTimesteps ?? Infinity)) return `timestep ${timestep}`;
      return stateContradiction(row, model, images, attachment);
    }
    case "preview": {
      if (!isStep(row, event.step)) return `a preview of step ${event.step} of ${row.totalSteps}`;
      return imageContradiction(row, model, event, attachment);
    }
    case "output":
      return imageContradiction(row, model, event, attachment);
    case "yielded":
      if (event.step > row.totalSteps) return `handed back after step ${event.step}`;
      break;
    case "succeeded":
    case "failed":
    case "canceled":
      break;
  }
  return attachment.length === 0 ? undefined : `an attachment of ${attachment.length} bytes`;
}

/** Of all images; the most there can be, if the model is not known. */
const pixelsOf = (model: ModelManifest | undefined, images: number): number =>
  images * (model === undefined ? MAX_LATENT_PIXELS : model.latentHeight * model.latentWidth);

function stateContradiction(
  row: PredictionRow,
  model: ModelManifest | undefined,
  images: number,
  attachment: Uint8Array,
): string | undefined {
  if (images !== row.images) return `${images} images instead of ${row.images}`;
  const pixels = pixelsOf(model, images);
  const tokens = attachment.length / BYTES_PER_TOKEN;
  const isWhole = model === undefined ? Number.isInteger(tokens) && tokens <= pixels : tokens === pixels;
  return isWhole ? undefined : `${attachment.length} bytes of tokens for ${pixels} pixels`;
}

const isStep = ({ totalSteps }: PredictionRow, step: number): boolean => step >= 1 && step <= totalSteps;

function imageContradiction(
  row: PredictionRow,
  model: ModelManifest | undefined,
  event: FileEvent,
  attachment: Uint8Array,
): string | undefined {
  const asked = askedSchema.parse(JSON.parse(row.inputJson));
  if (event.index >= row.images) return `image ${event.index} of ${row.images}`;
  if (event.type === "preview" && event.preview >= asked.num_previews) {
    return `preview ${event.preview} of ${asked.num_previews}`;
  }
  if (event.format !== asked.output_format)
    return `a ${event.format} image instead of ${asked.output_format}`;
  const { width, height } = event;
  // A file of tokens has the size of their grid.
  const isGrid = event.format === "tokens";
  const wanted = {
    width: isGrid ? model?.latentWidth : (asked.width ?? model?.imageWidth),
    height: isGrid ? model?.latentHeight : (asked.height ?? model?.imageHeight),
  };
  if ((wanted.width ?? width) !== width || (wanted.height ?? height) !== height) {
    return isGrid ? `${width}x${height} tokens` : `an image of ${width}x${height} pixels`;
  }
  return attachment.length === 0 ? "an empty image" : undefined;
}
