// What the configs of a checkpoint's components must agree on.

import { join } from "node:path";
import type { SchedulerConfig, TextEncoderConfig, TransformerConfig, VQModelConfig } from "./config.ts";
import { CheckpointError } from "./errors.ts";

export interface Configs {
  readonly scheduler: SchedulerConfig;
  /** Undefined for a model without one. */
  readonly textEncoder: TextEncoderConfig | undefined;
  readonly transformer: TransformerConfig;
  readonly vqvae: VQModelConfig;
}

/** One error for each number that does not fit the other components', all of the folder `dir`. */
export function disagreements(
  dir: string,
  { scheduler, textEncoder, transformer, vqvae }: Configs,
): CheckpointError[] {
  const classes = vqvae.num_tokens + 1;
  const levels = vqvae.block_out_channels.length;
  const steps = Math.min(scheduler.num_train_timesteps, transformer.num_embeds_ada_norm);
  const numbers: [file: string, what: string, found: number, expected: number][] = [
    ["transformer/config.json", "num_vector_embeds", transformer.num_vector_embeds, classes],
    ["scheduler/scheduler_config.json", "num_vec_classes", scheduler.num_vec_classes, classes],
    [
      "transformer/config.json",
      "cross_attention_dim",
      transformer.cross_attention_dim,
      textEncoder?.hidden_size ?? 0,
    ],
    ["scheduler/scheduler_config.json", "num_train_timesteps", scheduler.num_train_timesteps, steps],
    ["vqvae/config.json", "length of up_block_types", vqvae.up_block_types.length, levels],
    ["vqvae/config.json", "length of down_block_types", vqvae.down_block_types.length, levels],
  ];
  return numbers
    .filter(([, , found, expected]) => found !== expected)
    .map(
      ([file, what, found, expected]) =>
        new CheckpointError(
          join(dir, file),
          `${what} is ${found}, but the other components imply ${expected}`,
          {
            remedy: "take all components from the same model",
          },
        ),
    );
}
