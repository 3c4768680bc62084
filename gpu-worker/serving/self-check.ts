// Checks that the loaded model computes what its checkpoint says it should on this provider, driver and machine.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { type Golden, misfit } from "../checkpoint/golden.ts";
import { GOLDEN } from "../checkpoint/model-files.ts";
import type { VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import { StepNoise } from "../pipeline/sampling/random.ts";

/** Points of the diffusion process at which the model is evaluated, as fractions of it; at 1 everything is masked. */
const TIMES = [0.3, 0.7, 1];
const SEED = 20_111;
/** Mean error of the log-probabilities in nats. int8 stays below 0.03; a wrong kernel gives whole nats. */
const MAX_ERROR = 0.25;
/** Share of pixels whose most likely class is the recorded one. int8 stays above 98 %; near-ties may come out differently. */
const MIN_AGREEMENT = 0.8;
const DECIMALS = 1e4;

export interface SelfCheck {
  /** Mean absolute error of the recorded classes' log-probabilities, in nats. */
  readonly error: number;
  /** Share of the pixels whose most likely class is the recorded one. */
  readonly agreement: number;
}

/** The model's results are not those that its checkpoint records. */
export class SelfCheckError extends Error {
  override readonly name = "SelfCheckError";
}

/** Records steps computed by `pipeline`, which should use fp32 on the CPU. */
export async function recordGolden(pipeline: VQDiffusionPipeline, prompt: string): Promise<Golden> {
  const { latents } = await pipeline.call({ prompt, seed: SEED, outputType: "latents" });
  const [finished] = latents;
  if (finished === undefined) throw new Error("the pipeline returned no image to record steps of");
  return recordSteps(pipeline, pipeline.tokenize(prompt).ids, finished);
}

/** A prompt that every model has: the empty text, or its first class. */
export const plainPrompt = (pipeline: VQDiffusionPipeline): readonly number[] =>
  pipeline.info.conditioning === "class" ? [0] : pipeline.tokenize("").ids;

/** The same at states that no run has been through, which takes a few passes instead of a run. */
export function recordUnseen(pipeline: VQDiffusionPipeline): Promise<Golden> {
  const { numEmbeddings, latentHeight, latentWidth } = pipeline.info;
  const noise = new StepNoise(SEED, 1, 0);
  const tokens = Uint16Array.from({ length: latentHeight * latentWidth }, (_, i) =>
    Math.floor(noise.ofPosition(i) * numEmbeddings),
  );
  return recordSteps(pipeline, plainPrompt(pipeline), tokens);
}

async function recordSteps(
  pipeline: VQDiffusionPipeline,
  prompt: readonly number[],
  finished: Uint16Array,
): Promise<Golden> {
  const { numEmbeddings, numTrainTimesteps } = pipeline.info;
  const promptIds = [...prompt];
  const cases = TIMES.map((time) => {
    const timestep = Math.round(time * (numTrainTimesteps - 1));
    const noise = new StepNoise(SEED, 0, timestep);
    const tokens = [...finished].map((token, i) => (noise.ofPosition(i) < time ? numEmbeddings : token));
    return { prompt_ids: promptIds, timestep, tokens };
  });
  const predicted = await predict(pipeline, cases);
  return {
    v: 1,
    cases: cases.map(({ prompt_ids, timestep, tokens }, row) => {
      const top_class = tokens.map((_, pixel) => predicted.top(row, pixel));
      const top_log_prob = top_class.map((k, pixel) =>
        Math.min(0, Math.round(predicted.logProb(row, pixel, k) * DECIMALS) / DECIMALS),
      );
      return { prompt_ids, timestep, tokens, top_class, top_log_prob };
    }),
  };
}

/** Compares the loaded model with `golden`. Throws a SelfCheckError that says how far off it is. */
export async function selfCheck(pipeline: VQDiffusionPipeline, golden: Golden): Promise<SelfCheck> {
  const { numEmbeddings, numTrainTimesteps, latentHeight, latentWidth, textLength } = pipeline.info;
  const length = latentHeight * latentWidth;
  const reason = misfit(golden, { numEmbeddings, numTrainTimesteps, length, textLength });
  if (reason !== undefined) throw new SelfCheckError(`${GOLDEN}: ${reason}`);
  const predicted = await predict(pipeline, golden.cases);
  let [error, agreeing, pixels] = [0, 0, 0];
  for (const [row, { top_class: classes, top_log_prob: logProbs }] of golden.cases.entries()) {
    for (const [pixel, k] of classes.entries()) {
      error += Math.abs(predicted.logProb(row, pixel, k) - (logProbs[pixel] ?? outOfBounds()));
      agreeing += predicted.top(row, pixel) === k ? 1 : 0;
      pixels++;
    }
  }
  const result = { error: error / pixels, agreement: agreeing / pixels };
  // Written so that NaN fails.
  if (!(result.error <= MAX_ERROR && result.agreement >= MIN_AGREEMENT)) {
    throw new SelfCheckError(
      `the model's results differ from ${GOLDEN}: log-probabilities are off by ${result.error.toFixed(3)} on ` +
        `average (at most ${MAX_ERROR}), and the most likely class matches for ` +
        `${(100 * result.agreement).toFixed(1)} % of the pixels (at least ${100 * MIN_AGREEMENT} %)`,
    );
  }
  return result;
}

interface Predicted {
  logProb(row: number, pixel: number, k: number): number;
  top(row: number, pixel: number): number;
}

type Case = Pick<Golden["cases"][number], "prompt_ids" | "timestep" | "tokens">;

/** log p(x_0) at the recorded states, [cases, L, K], computed in one pass. */
export async function predictGolden(
  pipeline: VQDiffusionPipeline,
  cases: readonly Case[],
): Promise<Float32Array> {
  const prompts = await pipeline.encodePrompt(cases.map((one) => one.prompt_ids));
  return pipeline.model.denoiser.predict(
    cases.map(({ tokens }) => Uint16Array.from(tokens)),
    cases.map(({ timestep }) => timestep),
    prompts,
  );
}

async function predict(pipeline: VQDiffusionPipeline, cases: readonly Case[]): Promise<Predicted> {
  const { numEmbeddings, latentHeight, latentWidth } = pipeline.info;
  const length = latentHeight * latentWidth;
  const logProbs = await predictGolden(pipeline, cases);
  const start = (row: number, pixel: number): number => (row * length + pixel) * numEmbeddings;
  return {
    logProb: (row, pixel, k) => logProbs[start(row, pixel) + k] ?? outOfBounds(),
    top: (row, pixel) => {
      const values = logProbs.subarray(start(row, pixel), start(row, pixel) + numEmbeddings);
      return values.indexOf(Math.max(...values));
    },
  };
}
