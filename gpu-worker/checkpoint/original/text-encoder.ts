// CLIP's text encoder, as it is in the original's checkpoints and in OpenAI's own file, in transformers' layout.

import { CheckpointError } from "../errors.ts";
import type { OriginalConfig } from "./config.ts";
import type { Tensors } from "./files.ts";
import { linear, norm, type PlannedWeight, same, slice } from "./plan.ts";

/** CLIP's heads are 64 wide, whatever the width. */
const HEAD_WIDTH = 64;

/** CLIP's tensors; their names begin with `prefix`. */
export interface ClipTensors {
  readonly tensors: Tensors;
  readonly prefix: string;
}

/** Those of the checkpoint, or of the file that `--clip` names. Throws a CheckpointError if neither has them. */
export function findClip(diffusion: Tensors, separate: Tensors | undefined): ClipTensors {
  if (separate !== undefined) return { tensors: separate, prefix: "" };
  const prefix = "condition_emb.";
  if (diffusion.entry(`${prefix}token_embedding.weight`) !== undefined) return { tensors: diffusion, prefix };
  throw new CheckpointError(diffusion.path, "holds no weights of CLIP's text encoder", {
    remedy: "give OpenAI's ViT-B-32.pt with --clip",
  });
}

/** `text_encoder/config.json`, and its tensors. Throws a CheckpointError. */
export function textEncoder({ tensors, prefix }: ClipTensors, { text }: OriginalConfig) {
  const embedding = `${prefix}token_embedding.weight`;
  const [vocabulary = 0, width = 0] = tensors.shape(embedding, 2);
  const [positions = 0] = tensors.shape(`${prefix}positional_embedding`, 2);
  const layers = tensors.countOf(`${prefix}transformer.resblocks.`);
  const expected = (text?.endIndex ?? 0) + 256;
  const fail = (reason: string): never => {
    throw new CheckpointError(tensors.path, reason, {
      remedy: "take config and weights from the same model",
    });
  };
  if (vocabulary !== expected)
    fail(`${embedding} has ${vocabulary} tokens, but the config's end_idx implies ${expected}`);
  if (text !== undefined && positions < text.length) {
    fail(`has ${positions} positions, but the config's context_length is ${text.length}`);
  }
  if (width % HEAD_WIDTH !== 0 || layers === 0)
    fail(`has no text encoder of CLIP's: width ${width}, ${layers} layers`);
  const block = (i: number): PlannedWeight[] => {
    const name = `text_model.encoder.layers.${i}`;
    const from = `${prefix}transformer.resblocks.${i}`;
    return [
      ...norm(tensors, `${name}.layer_norm1`, `${from}.ln_1`, width),
      ...["q_proj", "k_proj", "v_proj"].flatMap((own, index) => [
        slice(tensors, `${name}.self_attn.${own}.weight`, `${from}.attn.in_proj_weight`, {
          shape: [width, width],
          index,
          count: 3,
        }),
        slice(tensors, `${name}.self_attn.${own}.bias`, `${from}.attn.in_proj_bias`, {
          shape: [width],
          index,
          count: 3,
        }),
      ]),
      ...linear(tensors, `${name}.self_attn.out_proj`, `${from}.attn.out_proj`, [width, width]),
      ...norm(tensors, `${name}.layer_norm2`, `${from}.ln_2`, width),
      ...linear(tensors, `${name}.mlp.fc1`, `${from}.mlp.c_fc`, [4 * width, width]),
      ...linear(tensors, `${name}.mlp.fc2`, `${from}.mlp.c_proj`, [width, 4 * width]),
    ];
  };
  const embeddings = "text_model.embeddings";
  const weights = [
    same(tensors, `${embeddings}.token_embedding.weight`, embedding, [vocabulary, width]),
    same(tensors, `${embeddings}.position_embedding.weight`, `${prefix}positional_embedding`, [
      positions,
      width,
    ]),
    ...Array.from({ length: layers }, (_, i) => block(i)).flat(),
    ...norm(tensors, "text_model.final_layer_norm", `${prefix}ln_final`, width),
  ];
  const json = {
    _class_name: "CLIPTextModel",
    architectures: ["CLIPTextModel"],
    model_type: "clip_text_model",
    hidden_act: "quick_gelu",
    hidden_size: width,
    intermediate_size: 4 * width,
    layer_norm_eps: 1e-5,
    max_position_embeddings: positions,
    num_attention_heads: width / HEAD_WIDTH,
    num_hidden_layers: layers,
    vocab_size: vocabulary,
    // The first is the original's padding; the others are CLIP's.
    pad_token_id: 0,
    bos_token_id: vocabulary - 2,
    eos_token_id: vocabulary - 1,
  };
  return { width, json, weights };
}

/** The learned embedding of "no prompt". Throws a CheckpointError if the config has one, and the checkpoint has not. */
export function learnedEmbeddings(tensors: Tensors, length: number, width: number): PlannedWeight[] {
  return [same(tensors, "embeddings", "empty_text_embed", [length, width])];
}
