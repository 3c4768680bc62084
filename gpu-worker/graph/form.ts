// Chooses among the equivalent forms of the graphs for each provider.

import type { Conditioning } from "../checkpoint/config.ts";
import type { Provider } from "../runtime/session.ts";
import type { FloatType } from "./onnx.ts";

/**
 * How the linear layers of transformer and text encoder are computed: `none` in fp32; `int8` with int8 weights and
 * activations; `fp16` in fp16; `w8a16` and `w4a16` in fp16 with weights of 8 and 4 bits.
 */
export const QUANTIZATIONS = ["none", "int8", "fp16", "w8a16", "w4a16"] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];

/** Those that are meant for the CPU; it computes the others correctly, but slowly. */
export const CPU_QUANTIZATIONS = ["none", "int8"] as const satisfies readonly Quantization[];
export const GPU_QUANTIZATIONS = [
  "none",
  "fp16",
  "w8a16",
  "w4a16",
] as const satisfies readonly Quantization[];

export interface GraphForm {
  readonly quantization: Quantization;
  /** Type of products and attention; the residual stream, norms and probabilities are fp32 in any form. */
  readonly activations: FloatType;
  /** Bits of weights that are stored in blocks with a scale each. */
  readonly weightBits: 8 | 4 | undefined;
  /** Attention as one operator instead of matrix products and a softmax. */
  readonly fusedAttention: boolean;
  /** Bias, residual sum and norm as one operator. */
  readonly fusedNorms: boolean;
  /**
   * Whether the transformer's graph takes prompts as token ids and draws the next classes, so that nothing else enters or
   * leaves the device at a step.
   */
  readonly drawsOnDevice: boolean;
}

/**
 * int8 on the CPU, where it takes about two thirds of the time; fp16 products with 8-bit weights on GPUs, which have no int8
 * matrix product with a scale per row. For both, the images are as good as with fp32 (docs/quantization.md).
 */
export function defaultQuantization(provider: Provider): Quantization {
  return provider === "cpu" ? "int8" : "w8a16";
}

const WEIGHT_BITS: Record<Quantization, 8 | 4 | undefined> = {
  none: undefined,
  int8: undefined,
  fp16: undefined,
  w8a16: 8,
  w4a16: 4,
};

/**
 * Throws when the provider has no kernels for the form. `drawsOnDevice` is by default true for GPUs: a CPU draws faster than
 * its graph does.
 */
export function graphForm(
  provider: Provider,
  quantization: Quantization,
  drawsOnDevice = provider !== "cpu",
): GraphForm {
  if (provider !== "cpu" && quantization === "int8") {
    throw new Error(`int8 runs on the cpu provider only; use quantization w8a16 with ${provider}`);
  }
  if (drawsOnDevice && quantization === "int8") {
    throw new Error("int8 has no graph that draws; use another quantization");
  }
  return {
    quantization,
    activations: quantization === "none" || quantization === "int8" ? "float32" : "float16",
    weightBits: WEIGHT_BITS[quantization],
    // Wrong on WebGPU in onnxruntime 1.30, whatever the driver: see docs/gpu.md.
    fusedAttention: provider !== "webgpu",
    // On CPUs it gains little, and would change bits.
    fusedNorms: drawsOnDevice,
    drawsOnDevice,
  };
}

/** The form of a model's graphs: those of models without a text encoder do not draw. Throws as `graphForm` does. */
export function modelForm(
  conditioning: Conditioning,
  provider: Provider,
  quantization: Quantization,
  drawsOnDevice?: boolean,
): GraphForm {
  if (conditioning === "text") return graphForm(provider, quantization, drawsOnDevice);
  if (drawsOnDevice === true) throw new Error("a model without a text encoder has no graph that draws");
  return graphForm(provider, quantization, false);
}

/** Incremented whenever graphs that draw change, as GRAPH_FORMAT is for all. */
const DRAWING_FORMAT = 2;

/** Names a form in the names of cache folders, and in the numerics id of graphs that draw. */
export const formName = ({ quantization, fusedAttention, drawsOnDevice }: GraphForm): string =>
  `${quantization}-${fusedAttention ? "fused" : "plain"}${drawsOnDevice ? `-draws${DRAWING_FORMAT}` : ""}`;
