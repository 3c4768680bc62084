// What may differ, by how the model is computed.

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
  /** Of a picture's bytes. */
  readonly imageLevels: number;
  /** Whether a run's tokens must be the recorded ones. */
  readonly runsMustBeEqual: boolean;
}

/**
 * fp32, on any provider: a few times what two versions of the reference differ by, and below what the recorded runs
 * are stable under, so that their tokens must be equal.
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
  // 8 bits hold a value to about 1 % of the row's largest. What follows the transformer is computed as in fp32; a
  // run's tokens are reported, but it ends in a picture of its own (docs/quantization.md).
  int8: { ...FP32, text: 0.05, transformer: 1, runsMustBeEqual: false },
};
