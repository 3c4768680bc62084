// The slots of a model on this device: measured once, and kept beside its graphs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import type { VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import { writeFileAtomic } from "../util/write-file-atomic.ts";
import { plainPrompt } from "./self-check.ts";
import { chooseSlots, MAX_AUTO_SLOTS, type PassTimer, type SlotChoice, slotsThatFit } from "./auto-slots.ts";

const count = z.int().min(1).max(MAX_AUTO_SLOTS);
const keptSchema = z.object({
  v: z.literal(1),
  slots: count,
  largest: count,
  times: z.array(z.object({ images: count, ms: z.number().min(0).nullable() })).max(16),
});

const SEED = 1;
const STEPS = 10;

/** Measures the device unless that has been done, with the same model, form, device and driver. */
export async function measuredSlots(
  pipeline: VQDiffusionPipeline,
  cacheDir: string,
  memory: { readonly memoryBytes: number | undefined; readonly weightBytes: number },
): Promise<SlotChoice> {
  const path = join(cacheDir, "slots", `${pipeline.info.numericsId}.json`);
  const kept = readKept(path);
  if (kept !== undefined) return kept;
  const { passBytesPerRow } = pipeline.info;
  const choice = await chooseSlots(passTimer(pipeline), slotsThatFit({ ...memory, passBytesPerRow }));
  writeFileAtomic(path, JSON.stringify({ v: 1, ...choice }));
  return choice;
}

function readKept(path: string): SlotChoice | undefined {
  try {
    return keptSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

/**
 * Times a guided step in the middle of a run, as most are, after a last one, which evaluates every pixel and so takes the
 * most memory.
 */
function passTimer(pipeline: VQDiffusionPipeline): PassTimer {
  const largestTried = new Set<number>();
  return {
    async time(images) {
      const [prompt] = await pipeline.encodePrompt([plainPrompt(pipeline)]);
      if (prompt === undefined) throw new Error("the plain prompt has no conditioning");
      const negative = await pipeline.encodeNegativePrompt(null);
      const slotsAt = (stepIndex: number) =>
        pipeline.prepareLatents(images).map((tokens, image) => {
          for (let i = 0; i < tokens.length; i += 2)
            tokens[i] = (i * 31 + image) % pipeline.info.numEmbeddings;
          return pipeline.makeSlot({
            tokens,
            stepIndex,
            seed: SEED,
            image,
            guidanceScale: pipeline.info.conditioning === "text" ? 5 : 1,
            truncationRate: 1,
            numInferenceSteps: Math.min(STEPS, pipeline.info.numTrainTimesteps),
            scheduler: "strided",
            prompt,
            negative,
          });
        });
      const steps = Math.min(STEPS, pipeline.info.numTrainTimesteps);
      if (!largestTried.has(images)) await pipeline.stepSlots(slotsAt(steps - 1));
      largestTried.add(images);
      const slots = slotsAt(Math.floor(steps / 2));
      const startedAt = performance.now();
      await pipeline.stepSlots(slots);
      return performance.now() - startedAt;
    },
  };
}
