// What the transformer sees of a prompt.

/** A prompt's keys and values in all layers, [2 x layers, S, D]. Shared by all users of the prompt, so never modified. */
export interface PromptConditioning {
  readonly cross: Float32Array;
}
