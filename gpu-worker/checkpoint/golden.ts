// A checkpoint's golden.json: recorded steps of the model, which workers repeat to check their own results.

import { z } from "zod";
import { CheckpointError } from "./errors.ts";
import type { CheckpointFolder } from "./files/folder.ts";
import { GOLDEN } from "./model-files.ts";

const MAX_GOLDEN_BYTES = 16 * 1024 * 1024;

const ids = z.array(z.int().min(0)).min(1);
export const goldenSchema = z.object({
  v: z.literal(1),
  cases: z
    .array(
      z.object({
        prompt_ids: ids,
        timestep: z.int().min(0),
        /** Class ids [L] that the model is given; the mask is the class after the codes. */
        tokens: ids,
        /** Most likely class of each pixel [L] and its log-probability, in fp32 on the CPU, without guidance. */
        top_class: ids,
        top_log_prob: z.array(z.number().max(0)).min(1),
      }),
    )
    .min(1),
});
export type Golden = z.infer<typeof goldenSchema>;

/** Model sizes that the recorded steps must match. */
export interface GoldenSizes {
  readonly numEmbeddings: number;
  readonly numTrainTimesteps: number;
  /** Number of latent pixels. */
  readonly length: number;
  readonly textLength: number;
}

/** The recorded steps, or undefined if there are none. Throws a CheckpointError if the file is invalid. */
export const readGolden = (folder: CheckpointFolder): Golden | undefined =>
  folder.has(GOLDEN) ? folder.json(GOLDEN, goldenSchema, MAX_GOLDEN_BYTES) : undefined;

/** Why the first mismatching case does not fit these sizes; undefined if all cases fit. */
export function misfit({ cases }: Pick<Golden, "cases">, sizes: GoldenSizes): string | undefined {
  const { numEmbeddings, numTrainTimesteps, length, textLength } = sizes;
  for (const [index, one] of cases.entries()) {
    const { prompt_ids, timestep, tokens, top_class: classes, top_log_prob: logProbs } = one;
    const fits =
      prompt_ids.length === textLength &&
      timestep < numTrainTimesteps &&
      tokens.length === length &&
      tokens.every((token) => token <= numEmbeddings) &&
      classes.every((k) => k < numEmbeddings);
    if (!fits) return `cases.${index} does not fit the model`;
    if (classes.length !== tokens.length || logProbs.length !== tokens.length) {
      return `cases.${index} has lists of different lengths`;
    }
  }
  return undefined;
}

/** Throws a CheckpointError if the checkpoint's recorded steps are invalid or do not fit the sizes. */
export function checkGolden(folder: CheckpointFolder, sizes: GoldenSizes): void {
  const golden = readGolden(folder);
  const reason = golden === undefined ? undefined : misfit(golden, sizes);
  if (reason === undefined) return;
  throw new CheckpointError(folder.path(GOLDEN), reason, {
    remedy: "remove it, or record it again with vqd golden",
  });
}
