// The parts of a checkpoint that hold weights, by the names of their folders.

export const COMPONENTS = [
  "text_encoder",
  "transformer",
  "vqvae",
  "learned_classifier_free_sampling_embeddings",
] as const;
export type Component = (typeof COMPONENTS)[number];
