// What the transformer sees of a prompt.

/** One prompt's keys and values of all layers, [2 x layers, S, D]. Shared by all who use the prompt: not to be changed. */
export interface PromptConditioning {
  readonly cross: Float32Array;
}
