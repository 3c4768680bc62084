// How large differences may be, by the way in which the model is computed.

import type { Quantization } from "../graph/form.ts";

export interface Limits {
  /** Largest absolute difference of the unit-norm text embeddings. */
  readonly text: number;
  /** Of the transformer's log-probabilities. */
  readonly transformer: number;
  readonly guidance: number;
  readonly tables: number;
  readonly posterior: number;
  readonly vqDecode: number;
  /** Of an image's bytes. */
  readonly imageLevels: number;
  /** Whether a run's tokens must equal the recorded ones. */
  readonly runsMustBeEqual: boolean;
}

/**
 * fp32, on any provider: a few times the difference between two versions of the reference, and small enough for the
 * recorded runs to be stable, so that their tokens must be equal.
 */
const FP32: Limits = {
  text: 2e-5,
  transformer: 1e-4,
  guidance: 5e-4,
  tables: 2e-6,
  posterior: 2e-4,
  vqDecode: 1e-4,
  imageLevels: 1,
  runsMustBeEqual: true,
};

export const LIMITS: Readonly<Record<Quantization, Limits>> = {
  none: FP32,
  // 8 bits represent a value to within about 1 % of the row's largest. Everything after the transformer is computed as in
  // fp32; a run's tokens are compared and reported, but a run ends in a different image (docs/quantization.md).
  int8: { ...FP32, text: 0.05, transformer: 1, runsMustBeEqual: false },
  // fp16 has 11 bits, so a value is off by at most 1 in 2,000; 8-bit weights by 1 in 256 of a block's largest, 4-bit by 1 in 16.
  fp16: { ...FP32, text: 5e-3, transformer: 0.1, runsMustBeEqual: false },
  w8a16: { ...FP32, text: 0.05, transformer: 1, runsMustBeEqual: false },
  w4a16: { ...FP32, text: 0.8, transformer: 16, runsMustBeEqual: false },
};
