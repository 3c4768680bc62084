// What a worker's device is compared with: the checkpoint's recorded steps, or steps that are computed once for those without.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { type Golden, goldenSchema, readGolden } from "../checkpoint/golden.ts";
import { VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import type { Provider } from "../runtime/session.ts";
import { writeFileAtomic } from "../util/write-file-atomic.ts";
import { predictGolden, recordUnseen } from "./self-check.ts";

/** A device gives wrong results or none: no job is to blame for the passes that have failed on it. */
export class DeviceFailedError extends Error {
  override readonly name = "DeviceFailedError";
}

export interface Reference {
  readonly golden: Golden;
  /** Whether it came with the checkpoint. */
  readonly isRecorded: boolean;
}

/**
 * The checkpoint's own recorded steps. One without them gets some, computed in fp32 on the CPU for a GPU, and by `pipeline`
 * itself for a CPU: those say nothing about whether its results are right, only whether they stay the same. They are kept in
 * `cacheDir`.
 */
export async function referenceSteps(
  dir: string,
  pipeline: VQDiffusionPipeline,
  { provider, cacheDir }: { provider: Provider; cacheDir: string },
): Promise<Reference> {
  const golden = readGolden(new DiffusersCheckpoint(dir).folder);
  if (golden !== undefined) return { golden, isRecorded: true };
  const { version, numericsId } = pipeline.info;
  const name = provider === "cpu" ? `${version}-${numericsId}` : version;
  const path = join(cacheDir, "golden", `${name}.json`);
  const kept = readKept(path);
  if (kept !== undefined) return { golden: kept, isRecorded: false };
  const made = provider === "cpu" ? await recordUnseen(pipeline) : await exactSteps(dir, cacheDir);
  writeFileAtomic(path, JSON.stringify(made));
  return { golden: made, isRecorded: false };
}

/** Steps of a checkpoint, computed in fp32 on the CPU. */
export async function exactSteps(dir: string, cacheDir: string): Promise<Golden> {
  const exact = await VQDiffusionPipeline.fromPretrained(dir, { cacheDir, ownThreads: true });
  try {
    return await recordUnseen(exact);
  } finally {
    await exact.release();
  }
}

/** Undefined if there is none, or none that can be used. */
function readKept(path: string): Golden | undefined {
  try {
    return goldenSchema.parse(JSON.parse(readFileSync(path, "utf8")));
  } catch {
    return undefined;
  }
}

/**
 * Whether a row has the same bits alone as in a batch. A provider may choose its kernels by the size of the batch; then an
 * image depends on its batch mates in the last bits, and one that is resumed need not be the same.
 */
export async function isBatchInvariant(pipeline: VQDiffusionPipeline, golden: Golden): Promise<boolean> {
  const [first] = golden.cases;
  if (first === undefined) return true;
  const alone = await predictGolden(pipeline, [first]);
  const together = await predictGolden(pipeline, [first, first, ...golden.cases]);
  return alone.every((value, i) => Object.is(value, together[i]));
}
