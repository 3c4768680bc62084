// Repeats whole recorded runs with their recorded noise.

import type { SchedulerConfig } from "../checkpoint/config.ts";
import { originalRun, purityRun } from "@vqd/shared/sampling/original.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "../checkpoint/errors.ts";
import type { DenoiseSlot } from "../pipeline/denoiser.ts";
import type { LoadedModel } from "../pipeline/loaded-model.ts";
import type { UniformSource } from "../pipeline/sampling/random.ts";
import { originalPurityOrder } from "../pipeline/sampling/purity.ts";
import { SkippingVQDiffusionScheduler } from "../pipeline/sampling/skipping-scheduler.ts";
import { VQDiffusionScheduler } from "../pipeline/sampling/scheduler.ts";
import { isEqual, maxDifference } from "./compare.ts";
import type { Limits } from "./limits.ts";
import type { RunDescription, VectorSet } from "./vectors.ts";

export interface RunResult {
  readonly steps: number;
  readonly images: number;
  /** Whether the tokens of all images equal the recorded ones after every step. */
  readonly latentsEqual: boolean;
  /** The first step, counted from 0, after which they do not. */
  readonly firstDifference: number | null;
  /** Fraction of the final tokens that equal the recorded ones. */
  readonly agreement: number;
  /** Largest difference between the images' bytes; null if the tokens differ or no image is recorded. */
  readonly imageLevels: number | null;
  readonly pass: boolean;
}

interface RunContext {
  readonly model: LoadedModel;
  readonly schedulerConfig: SchedulerConfig;
  readonly vectors: VectorSet;
  readonly limits: Limits;
}

export async function compareRun(name: string, context: RunContext): Promise<RunResult> {
  const { model, vectors, limits } = context;
  const run = vectors.runs[name];
  if (run === undefined) throw new Error(`no run ${name}`);
  const slots = await makeSlots(name, run, context);
  let firstDifference: number | null = null;
  for (let step = 0; step < run.num_inference_steps; step++) {
    await model.denoiser.step(slots);
    const found = slots.flatMap((slot) => [...slot.tokens]);
    if (firstDifference === null && !isEqual(found, vectors.get(`run.${name}.latents`, step).data)) {
      firstDifference = step;
    }
  }
  const last = vectors.get(`run.${name}.latents`, run.num_inference_steps - 1).data;
  const tokens = slots.flatMap((slot) => [...slot.tokens]);
  const agreement = tokens.filter((token, i) => token === last[i]).length / tokens.length;
  const latentsEqual = firstDifference === null;
  const imageLevels = latentsEqual ? await compareImages(name, slots, context) : null;
  return {
    steps: run.num_inference_steps,
    images: slots.length,
    latentsEqual,
    firstDifference,
    agreement,
    imageLevels,
    pass: (latentsEqual || !limits.runsMustBeEqual) && (imageLevels ?? 0) <= limits.imageLevels,
  };
}

async function compareImages(
  name: string,
  slots: readonly DenoiseSlot[],
  { model, vectors }: RunContext,
): Promise<number | null> {
  if (!vectors.has(`run.${name}.image_u8`)) return null;
  const images = await model.vqModel.decode(slots.map((slot) => slot.tokens));
  const levels = images.map(({ data }, i) =>
    maxDifference(data, vectors.get(`run.${name}.image_u8`, i).data),
  );
  // Images of different sizes have no difference in levels.
  return levels.some(Number.isNaN) ? Infinity : Math.max(...levels);
}

async function makeSlots(name: string, run: RunDescription, context: RunContext): Promise<DenoiseSlot[]> {
  const { model, schedulerConfig, vectors } = context;
  const { info, conditioner, tokenize } = model;
  const config = { ...schedulerConfig, num_train_timesteps: run.num_train_timesteps };
  const scheduler =
    run.skip === 0 ? new VQDiffusionScheduler(config) : new SkippingVQDiffusionScheduler(config, run.skip);
  const { timesteps, order } = passesOf(name, run, scheduler, context);
  const prompts = await conditioner.encode(run.prompts.map((prompt) => tokenize(prompt).ids));
  const pixels = info.latentHeight * info.latentWidth;
  const held = run.held === 0 ? undefined : new Uint8Array(pixels).fill(1, 0, run.held);
  return prompts.flatMap((prompt, promptIndex) =>
    Array.from({ length: run.num_images_per_prompt }, (_, i): DenoiseSlot => {
      const image = promptIndex * run.num_images_per_prompt + i;
      return {
        tokens:
          run.latents === "all masked"
            ? new Uint16Array(pixels).fill(info.numEmbeddings)
            : Uint16Array.from(vectors.get(run.latents, image).data),
        stepIndex: 0,
        timesteps,
        order,
        held,
        seed: 0,
        image,
        guidanceScale: run.guidance_scale,
        temperature: 1,
        truncationRate: run.truncation_rate,
        prompt,
        negative: conditioner.unconditional,
        scheduler,
        remasking: 0,
        noise: (step) => recordedNoise(name, run, { step, image, pixels, vectors }),
      };
    }),
  );
}

/** The timesteps of a run, and of the original's purity sampling its order. Throws a CheckpointError. */
function passesOf(
  name: string,
  { purity, num_inference_steps: steps, num_train_timesteps: timesteps }: RunDescription,
  scheduler: VQDiffusionScheduler,
  { model: { info }, vectors }: RunContext,
): Pick<DenoiseSlot, "timesteps" | "order"> {
  if (purity === undefined) return { timesteps: scheduler.timesteps(steps) };
  const { prior_rule: priorRule, prior_weight: weight, infer_speed: inferSpeed } = purity;
  const pixels = info.latentHeight * info.latentWidth;
  const size = { timesteps, pixels };
  const passes =
    purity.tokens_per_timestep === undefined
      ? originalRun({ inferSpeed, priorRule }, size)
      : purityRun(purity.tokens_per_timestep, size, pixels);
  if (passes.timesteps.length !== steps) {
    const found = `has ${steps} steps, but its settings make ${passes.timesteps.length}`;
    throw new CheckpointError(vectors.path, `run ${name}: ${found}`);
  }
  const shares = passes.left?.map((count) => count / pixels) ?? outOfBounds();
  return { timesteps: passes.timesteps, order: originalPurityOrder(priorRule, weight, shares) };
}

/** The uniform numbers of one image at one step, recorded with classes before pixels. */
function recordedNoise(
  name: string,
  { noise, purity, num_inference_steps: steps, prompts, num_images_per_prompt: perPrompt }: RunDescription,
  { step, image, pixels, vectors }: { step: number; image: number; pixels: number; vectors: VectorSet },
): UniformSource {
  const at = ((): ((element: number) => number | undefined) => {
    if (typeof noise === "object") {
      const { data } = vectors.get(noise.bank);
      return (element) => data[(noise.offset + step * noise.stride + element) % data.length];
    }
    const { data } =
      step === steps - 1 ? vectors.get(`run.${name}.uniform_last`) : vectors.get(`run.${name}.uniform`, step);
    return (element) => data[element];
  })();
  const missing = (): never => {
    throw new CheckpointError(vectors.path, `run ${name}: too few numbers are recorded for step ${step}`);
  };
  // Where the mask cannot be drawn, that is of p(x_0) itself.
  const isOfImage = step === steps - 1 || purity !== undefined;
  const extra = isOfImage && typeof noise === "object" && noise.mask_row_at_end ? 1 : 0;
  return {
    fill(out, position) {
      const rows = out.length + extra;
      for (let k = 0; k < out.length; k++) out[k] = at((image * rows + k) * pixels + position) ?? missing();
    },
    ...(purity === undefined
      ? {}
      : {
          ofPosition: (position) => {
            const { data } = vectors.get(purity.select.bank);
            const call = step * prompts.length * perPrompt + image;
            const { offset, stride } = purity.select;
            return data[(offset + call * stride + position) % data.length] ?? missing();
          },
        }),
  };
}
