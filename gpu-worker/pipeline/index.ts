// The pipeline as a library: `import { VQDiffusionPipeline } from "@vqd/gpu-worker/pipeline"`.

export type { CallOptions, ImagePipelineOutput, OutputType, OutputTypes } from "./call.ts";
export { InvalidInputError } from "./errors.ts";
export { encodeImageFile, type RgbImage } from "./image.ts";
export {
  type DenoiseSlot,
  type PipelineComponents,
  type PipelineInfo,
  type PipelineOptions,
  type PromptConditioning,
  type SlotInit,
  VQDiffusionPipeline,
} from "./pipeline.ts";
export type { PurityPrior } from "./purity.ts";
export type { UniformSource } from "./random.ts";
export type { Jump } from "./schedule.ts";
export { type DiffusionScheduler, VQDiffusionScheduler } from "./scheduler.ts";
export { StridedVQDiffusionScheduler } from "./strided-scheduler.ts";
