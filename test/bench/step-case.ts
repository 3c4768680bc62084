// One measured case: the step of a shape with so many images, threads and guidance, in one quantization.

import type { Quantization } from "../../gpu-worker/graph/form.ts";
import { type DenoiseSlot, VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";

const PROMPT = "fox, flat style";
export const GUIDANCE_SCALE = 5;
const MIB = 2 ** 20;

export interface Spread {
  readonly median: number;
  readonly min: number;
  readonly max: number;
}

export interface StepCase {
  readonly images: number;
  readonly guidance: boolean;
  readonly threads: number;
  readonly quantization: Quantization;
  /** Which step of a run: the last one, unlike the others, asks the model about every pixel. */
  readonly step: "middle" | "last";
}

export type Shape = "bundled" | "ithq, 2 layers" | "ithq, 4 layers";
/** A case of the suite: on which checkpoint, and by which graphs. */
export interface SuiteCase extends StepCase {
  readonly shape: Shape;
  readonly form: "ours" | "plain";
}

/** Milliseconds of `work`, run `repeats` times after one run that does not count. */
export async function durationsOf(repeats: number, work: () => Promise<unknown>): Promise<number[]> {
  await work();
  const durations: number[] = [];
  for (let i = 0; i < repeats; i++) {
    const startedAt = performance.now();
    await work();
    durations.push(performance.now() - startedAt);
  }
  return durations;
}

export const time = async (repeats: number, work: () => Promise<unknown>): Promise<Spread> =>
  spreadOf(await durationsOf(repeats, work));

export function spreadOf(durations: readonly number[]): Spread {
  const sorted = durations.toSorted((a, b) => a - b);
  const round = (ms: number | undefined): number => Math.round((ms ?? 0) * 100) / 100;
  return {
    median: round(sorted[Math.floor(sorted.length / 2)]),
    min: round(sorted[0]),
    max: round(sorted.at(-1)),
  };
}

export const residentMb = (): number => Math.round(process.memoryUsage.rss() / MIB);

/** `images` images of one prompt, all of whose steps are still to be made. */
export async function makeSlots(
  pipeline: VQDiffusionPipeline,
  { images, guidance }: Pick<StepCase, "images" | "guidance">,
): Promise<DenoiseSlot[]> {
  const [prompt] = await pipeline.encodePrompt([pipeline.tokenize(PROMPT).ids]);
  const negative = await pipeline.encodeNegativePrompt(null);
  if (prompt === undefined) throw new Error("the prompt was not encoded");
  return pipeline.prepareLatents(images).map((tokens, image) =>
    pipeline.makeSlot({
      tokens,
      image,
      seed: 7,
      guidanceScale: guidance ? GUIDANCE_SCALE : 1,
      truncationRate: 1,
      prompt,
      negative,
      numInferenceSteps: pipeline.info.numTrainTimesteps,
    }),
  );
}

/** In the middle of a run half of an image is masked. */
export async function measureStep(
  model: string,
  cacheDir: string,
  { repeats, step: which, ...settings }: StepCase & { repeats: number },
): Promise<{ durations: number[]; rss_mb: number }> {
  const { threads, quantization } = settings;
  const pipeline = await VQDiffusionPipeline.fromPretrained(model, { threads, quantization, cacheDir });
  try {
    const slots = await makeSlots(pipeline, settings);
    const steps = pipeline.info.numTrainTimesteps;
    const stepIndex = which === "last" ? steps - 1 : Math.floor(steps / 2);
    const masked = pipeline.info.numEmbeddings;
    for (const { tokens } of slots) {
      for (let position = 0; position < tokens.length; position += 2) tokens[position] = position % masked;
    }
    const states = slots.map(({ tokens }) => tokens.slice());
    // From the same state each time: which pixels the model is asked about depends on it.
    const step = (): Promise<void> => {
      for (const [i, slot] of slots.entries()) {
        slot.stepIndex = stepIndex;
        slot.tokens.set(states[i] ?? []);
      }
      return pipeline.stepSlots(slots);
    };
    return { durations: await durationsOf(repeats, step), rss_mb: residentMb() };
  } finally {
    await pipeline.release();
  }
}
