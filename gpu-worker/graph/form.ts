// Which of the equivalent forms of the graphs a provider gets.

import type { Provider } from "../runtime/session.ts";

/** How the linear layers of transformer and text encoder are computed. */
export const QUANTIZATIONS = ["none", "int8"] as const;
export type Quantization = (typeof QUANTIZATIONS)[number];

export interface GraphForm {
  readonly quantization: Quantization;
  /** Attention as one operator instead of products and a softmax. */
  readonly fusedAttention: boolean;
}

/**
 * int8 on the CPU, where it takes about two thirds of the time and the pictures are as good (docs/quantization.md);
 * the GPU providers have no int8 product with a scale per row.
 */
export function defaultQuantization(provider: Provider): Quantization {
  return provider === "cpu" ? "int8" : "none";
}

/** Throws when the provider has no kernels for the form. */
export function graphForm(provider: Provider, quantization: Quantization): GraphForm {
  if (provider !== "cpu" && quantization === "int8") {
    throw new Error(`int8 runs on the cpu provider only; use quantization none with ${provider}`);
  }
  // WebGPU's MultiHeadAttention of onnxruntime 1.30 is off by 0.6 in the tiny checkpoint's log-probabilities, where
  // the plain form is off by 7e-6; CUDA's could not be tried.
  return { quantization, fusedAttention: provider === "cpu" };
}

/** Names a form in the cache's folders. */
export const formName = ({ quantization, fusedAttention }: GraphForm): string =>
  `${quantization}-${fusedAttention ? "fused" : "plain"}`;
