// What the transformer sees of a prompt, and what makes it.

/**
 * Of a text, its keys and values in all layers, [2 x layers, S, D]; of a class, its part in their norms, [2 x layers, 1,
 * D]; else nothing. Shared by all users of the prompt, so never modified.
 */
export interface PromptConditioning {
  readonly cross: Float32Array;
}

export interface Conditioner {
  /** The unconditional half of classifier-free guidance. */
  readonly unconditional: PromptConditioning;
  /** Of each prompt, given as token ids or as its class; throws InvalidInputError for ids that the model does not have. */
  encode(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]>;
  release(): Promise<void>;
}
