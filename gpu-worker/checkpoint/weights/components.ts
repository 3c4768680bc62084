// The parts of a checkpoint that hold weights, by the names of their folders.

export const COMPONENTS = [
  "text_encoder",
  "transformer",
  "vqvae",
  "learned_classifier_free_sampling_embeddings",
] as const;
export type Component = (typeof COMPONENTS)[number];

/** Those that only models conditioned by text have. */
const OF_TEXT: ReadonlySet<Component> = new Set([
  "text_encoder",
  "learned_classifier_free_sampling_embeddings",
]);

/** Those of a model that is conditioned by text, or of another. */
export const componentsOf = (isText: boolean): Component[] =>
  COMPONENTS.filter((component) => isText || !OF_TEXT.has(component));
