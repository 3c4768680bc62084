// What the transformer sees of a prompt, and what makes it.

/**
 * Shared by all users of the prompt, so never modified. It holds what the form of the transformer's graph takes: keys and
 * values or token ids; neither for the learned unconditional embeddings of a graph that takes ids, and for models that are
 * not conditioned.
 */
export interface PromptConditioning {
  /** Keys and values in all layers, [2 x layers, S, D]; of a class, its part in their norms, [2 x layers, 1, D]. */
  readonly cross?: Float32Array;
  /** Token ids [S]. */
  readonly ids?: Int32Array;
}

export interface Conditioner {
  /** The unconditional half of classifier-free guidance. */
  readonly unconditional: PromptConditioning;
  /** Of each prompt, given as token ids or as its class; throws InvalidInputError for ids that the model does not have. */
  encode(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]>;
  release(): Promise<void>;
}
