// Prompts as token ids in the transformer's own graph: the text encoder, then keys and values of the cross-attention.

import type { DiffusersCheckpoint, Weights } from "../checkpoint/diffusers-layout.ts";
import { computedCrossAttention, type CrossAttention } from "./cross-attention.ts";
import type { GraphForm } from "./form.ts";
import type { GraphBuilder } from "./onnx.ts";
import { textEmbeddings } from "./text-encoder.ts";

/**
 * Input `prompt_ids` int32 [P, S]. In a checkpoint with learned unconditional embeddings these are prompt 0, and the prompts
 * given follow from 1; otherwise those are counted from 0.
 */
export function promptsInPass(
  graph: GraphBuilder,
  transformerWeights: Weights,
  checkpoint: DiffusersCheckpoint,
  form: GraphForm,
): CrossAttention {
  const { transformer, text } = checkpoint;
  const { textEncoder, tokenizer, learnableUnconditional } = text;
  const length = tokenizer.maxLength;
  const ids = graph.input("prompt_ids", "int32", ["prompts", length]);
  const given = withWeights(checkpoint, "text_encoder", (weights) =>
    textEmbeddings(graph, weights, textEncoder, { ...form, ids, length }),
  );
  const embeddings = learnableUnconditional
    ? graph.op("Concat", [learnedEmbeddings(graph, checkpoint), given], { axis: 0 })
    : given;
  return computedCrossAttention(graph, transformerWeights, transformer, {
    ...form,
    embeddings,
    textLength: length,
  });
}

function learnedEmbeddings(graph: GraphBuilder, checkpoint: DiffusersCheckpoint): string {
  const size = [checkpoint.tokenizer.maxLength, checkpoint.text.textEncoder.hidden_size] as const;
  return withWeights(checkpoint, "learned_classifier_free_sampling_embeddings", (weights) =>
    graph.constant(weights.tensor("embeddings", size), [1, ...size]),
  );
}

function withWeights<T>(
  checkpoint: DiffusersCheckpoint,
  component: Parameters<DiffusersCheckpoint["weights"]>[0],
  use: (weights: Weights) => T,
): T {
  const weights = checkpoint.weights(component);
  try {
    return use(weights);
  } finally {
    weights.close();
  }
}
