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
export type { RunSettings } from "./sampling/run.ts";
export type { SlotStart } from "./slot.ts";
export type { UniformSource } from "./sampling/random.ts";
export type { Jump } from "./sampling/schedule.ts";
export { type DiffusionScheduler, VQDiffusionScheduler } from "./sampling/scheduler.ts";
export type { UnmaskingOrder } from "./sampling/unmasking/order.ts";
export { SkippingVQDiffusionScheduler } from "./sampling/skipping-scheduler.ts";
export { StridedVQDiffusionScheduler } from "./sampling/strided-scheduler.ts";
