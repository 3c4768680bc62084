// Chooses among the equivalent forms of the graphs for each provider.

import type { Provider } from "../runtime/session.ts";

/** How the linear layers of transformer and text encoder are computed. */
export const QUANTIZATIONS = ["none", "int8"] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];

export interface GraphForm {
  readonly quantization: Quantization;
  /** Attention as one operator instead of matrix products and a softmax. */
  readonly fusedAttention: boolean;
}

/**
 * int8 on the CPU, where it takes about two thirds of the time and the images are as good (docs/quantization.md); the
 * GPU providers have no int8 matrix product with a scale per row.
 */
export function defaultQuantization(provider: Provider): Quantization {
  return provider === "cpu" ? "int8" : "none";
}

/** Throws when the provider has no kernels for the form. */
export function graphForm(provider: Provider, quantization: Quantization): GraphForm {
  if (provider !== "cpu" && quantization === "int8") {
    throw new Error(`int8 runs on the cpu provider only; use quantization none with ${provider}`);
  }
  // On WebGPU, MultiHeadAttention of onnxruntime 1.30 is off by 0.6 in the tiny checkpoint's log-probabilities, and the
  // plain form by 7e-6. CUDA is untested.
  return { quantization, fusedAttention: provider === "cpu" };
}

/** Names a form in the names of cache folders. */
export const formName = ({ quantization, fusedAttention }: GraphForm): string =>
  `${quantization}-${fusedAttention ? "fused" : "plain"}`;
