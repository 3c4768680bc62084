// Compares the pipeline with recorded results of the reference: every stage, and whole runs.

import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { CheckpointError } from "../checkpoint/errors.ts";
import type { Quantization } from "../graph/form.ts";
import type { PipelineInfo } from "../pipeline/info.ts";
import { VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import { VQDiffusionScheduler } from "../pipeline/sampling/scheduler.ts";
import type { Provider } from "../runtime/session.ts";
import type { StageResult } from "./compare.ts";
import { LIMITS } from "./limits.ts";
import { compareRun, type RunResult } from "./runs.ts";
import { STAGES, TOKEN_IDS } from "./stages.ts";
import { VectorSet } from "./vectors.ts";

export interface ParityOptions {
  readonly checkpoint: string;
  /** Path of either file of the set. */
  readonly vectors: string;
  readonly provider: Provider;
  readonly quantization: Quantization;
  readonly threads: number;
  readonly cacheDir: string;
  /** Names of the runs to repeat; by default all. */
  readonly runs?: readonly string[] | undefined;
  /** Called before each stage and run. */
  readonly onStage?: (name: string) => void;
}

export interface ParityReport {
  readonly checkpoint: string;
  readonly vectors: string;
  readonly provider: Provider;
  readonly quantization: Quantization;
  readonly numericsId: string;
  /** Results by stage; null where the set has no vectors for it. */
  readonly stages: Readonly<Record<string, StageResult | null>>;
  readonly runs: Readonly<Record<string, RunResult>>;
  /** Whether anything was compared, and everything is within its limits. */
  readonly pass: boolean;
}

/** Throws a CheckpointError that names file and tensor if checkpoint and vectors do not match. */
export async function runParity(options: ParityOptions): Promise<ParityReport> {
  const { provider, quantization, threads, cacheDir } = options;
  const vectors = new VectorSet(options.vectors);
  const checkpoint = new DiffusersCheckpoint(options.checkpoint);
  const { scheduler: schedulerConfig } = checkpoint;
  const unknown = options.runs?.find((name) => !Object.hasOwn(vectors.runs, name));
  if (unknown !== undefined) throw new CheckpointError(vectors.path, `has no run ${JSON.stringify(unknown)}`);
  const pipeline = await VQDiffusionPipeline.fromPretrained(options.checkpoint, {
    provider,
    quantization,
    threads,
    cacheDir,
  });
  try {
    const { model } = pipeline;
    checkShapes(vectors, model.info);
    const limits = LIMITS[quantization];
    const scheduler = new VQDiffusionScheduler(schedulerConfig);
    const stages: Record<string, StageResult | null> = {};
    for (const [name, stage] of Object.entries(STAGES)) {
      options.onStage?.(name);
      const isThere = vectors.has(...stage.needs);
      stages[name] = isThere ? await stage.run({ checkpoint, model, scheduler, vectors, limits }) : null;
    }
    const runs: Record<string, RunResult> = {};
    for (const name of options.runs ?? Object.keys(vectors.runs)) {
      options.onStage?.(`run ${name}`);
      runs[name] = await compareRun(name, { model, schedulerConfig, vectors, limits });
    }
    const results = [...Object.values(stages).filter((result) => result !== null), ...Object.values(runs)];
    return {
      checkpoint: options.checkpoint,
      vectors: vectors.path,
      provider,
      quantization,
      numericsId: pipeline.info.numericsId,
      stages,
      runs,
      pass: results.length > 0 && results.every(({ pass }) => pass),
    };
  } finally {
    await pipeline.release();
  }
}

/** The last axes of these tensors follow from the checkpoint: vectors of another model are rejected, not compared. */
function checkShapes(vectors: VectorSet, info: PipelineInfo): void {
  const { textLength, numEmbeddings, latentHeight, latentWidth, imageHeight, imageWidth } = info;
  const pixels = latentHeight * latentWidth;
  const ends: Record<string, readonly number[]> = {
    [TOKEN_IDS]: [textLength],
    "text.ids": [textLength],
    "transformer.latents": [pixels],
    "transformer.logp": [numEmbeddings, pixels],
    "posterior.x_t": [pixels],
    "vq.decode.codes": [pixels],
    "vq.decode.sample": [3, imageHeight, imageWidth],
    "vq.encode.image_u8": [imageHeight, imageWidth, 3],
    ...Object.fromEntries(Object.keys(vectors.runs).map((name) => [`run.${name}.latents`, [pixels]])),
  };
  for (const [name, end] of Object.entries(ends)) {
    if (!vectors.has(name)) continue;
    const { shape } = vectors.get(name);
    if (shape.slice(-end.length).join() !== end.join()) {
      throw new CheckpointError(
        vectors.path,
        `tensor ${name} has shape [${shape.join(", ")}], the checkpoint implies [..., ${end.join(", ")}]`,
      );
    }
  }
}
