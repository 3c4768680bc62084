// What the transformer sees of a prompt.

/**
 * Shared by all users of the prompt, so never modified. It holds what the form of the transformer's graph takes: keys and
 * values or token ids; neither for the learned unconditional embeddings of a graph that takes ids.
 */
export interface PromptConditioning {
  /** Keys and values in all layers, [2 x layers, S, D]. */
  readonly cross?: Float32Array;
  /** Token ids [S]. */
  readonly ids?: Int32Array;
}
