// What a checkpoint's configs hold beyond diffusers' and transformers' fields, in words.

import type { TransformerConfig, VQModelConfig } from "./config.ts";
import type { TokenizerInfo } from "./tokenizer/read-tokenizer.ts";

/** A line for each extension in use; configs that cannot be read are undefined. */
export function describeExtensions(
  transformer: TransformerConfig | undefined,
  vqvae: VQModelConfig | undefined,
  tokenizer: TokenizerInfo | undefined,
): string[] {
  const lines: string[] = [];
  if (transformer !== undefined) {
    const {
      conditioning,
      num_classes: classes,
      null_class,
      sample_size: side,
      position_grid: grid,
    } = transformer;
    const width = transformer.num_attention_heads * transformer.attention_head_dim;
    const { feed_forward_kernel: kernel, feed_forward_width: inner } = transformer;
    if (conditioning === "class") {
      const without = null_class === "learned" ? "a learned embedding" : "the mean of all classes";
      lines.push(`transformer: conditioned by one of ${classes} classes; "no class" is ${without}`);
    }
    if (conditioning === "none") lines.push("transformer: not conditioned");
    if (kernel > 1) lines.push(`transformer: feed-forward of ${kernel} x ${kernel} convolutions`);
    if (inner !== 4 * width) lines.push(`transformer: feed-forward ${inner} wide, not ${4 * width}`);
    if (grid[0] !== side || grid[1] !== side) {
      lines.push(`transformer: positions are counted by rows of ${grid[1]}, ${grid[0]} of them`);
    }
  }
  if (vqvae !== undefined) {
    const { num_tokens: tokens, num_vq_embeddings: codes, code_map: map, quantizer } = vqvae;
    if (map !== undefined) lines.push(`vqvae: ${tokens} tokens of a codebook of ${codes}, by code_map`);
    if (quantizer === "gumbel")
      lines.push("vqvae: Gumbel quantizer; images are encoded by its largest outputs, without noise");
  }
  if (tokenizer?.tables.keepsEnd === true) lines.push("tokenizer: prompts that are cut keep their end token");
  return lines;
}
