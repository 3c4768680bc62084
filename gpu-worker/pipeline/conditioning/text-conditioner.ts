// Turns prompts into what the transformer takes: its cross-attention's keys and values, computed once per prompt, or token ids.

import type { DiffusersCheckpoint } from "../../checkpoint/diffusers-layout.ts";
import { graphBytes, type GraphName, graphPath } from "../../graph/cache.ts";
import { floatData, floatTensor, intTensor, type SessionOptions } from "../../runtime/session.ts";
import { InvalidInputError } from "../errors.ts";
import type { Conditioner, PromptConditioning } from "./prompt-conditioning.ts";
import { TransientSession } from "../transient-session.ts";
import { PromptCache } from "./prompt-cache.ts";

/**
 * A cross-attention graph larger than this is loaded again for each new prompt on the CPU: that of the published model
 * takes 208 MB and a few tenths of a second, and an image takes minutes.
 */
const MAX_STAYING_BYTES = 64 * 2 ** 20;

export class TextConditioner implements Conditioner {
  readonly #encoder: TransientSession;
  /** None if the transformer takes token ids. */
  readonly #crossAttention: TransientSession | undefined;
  readonly #length: number;
  readonly #width: number;
  readonly #vocabulary: number;
  readonly #cache: PromptCache;
  /** The unconditional half of classifier-free guidance: the model's own embedding, or the empty prompt. */
  readonly unconditional: PromptConditioning;

  private constructor(
    encoder: TransientSession,
    crossAttention: TransientSession | undefined,
    { text: { textEncoder, tokenizer } }: DiffusersCheckpoint,
    unconditional: PromptConditioning,
    cacheBytes: number,
  ) {
    this.#encoder = encoder;
    this.#crossAttention = crossAttention;
    this.#length = tokenizer.maxLength;
    this.#width = textEncoder.hidden_size;
    this.#vocabulary = textEncoder.vocab_size;
    this.unconditional = unconditional;
    this.#cache = new PromptCache(cacheBytes);
  }

  static async load(
    checkpoint: DiffusersCheckpoint,
    graphs: string,
    {
      cacheBytes = 0,
      takesIds = false,
      ...options
    }: SessionOptions & { cacheBytes?: number; takesIds?: boolean },
  ): Promise<TextConditioner> {
    const once = { ...options, keepsMemory: false };
    const session = (name: GraphName, stays: boolean): TransientSession =>
      new TransientSession(graphPath(graphs, name), { ...once, stays });
    // A transformer that takes ids encodes prompts itself.
    const encoder = session("text-encoder", !takesIds);
    const crossAttention = takesIds
      ? undefined
      : session(
          "cross-attention",
          options.provider !== "cpu" || graphBytes(graphs, "cross-attention") <= MAX_STAYING_BYTES,
        );
    const bare = new TextConditioner(encoder, crossAttention, checkpoint, {}, 0);
    try {
      if (!takesIds) await encoder.use(async () => {});
      const unconditional = await bare.#makeUnconditional(checkpoint);
      return new TextConditioner(encoder, crossAttention, checkpoint, unconditional, cacheBytes);
    } catch (error) {
      await bare.release();
      throw error;
    }
  }

  /** Unit-norm embeddings [S, E] of one prompt's token ids. */
  async embed(ids: readonly number[]): Promise<Float32Array> {
    this.#check(ids);
    const feeds = { ids: intTensor(ids, [1, this.#length]) };
    return floatData(await this.#encoder.use((session) => session.run(feeds, "embeddings")));
  }

  #check(ids: readonly number[]): void {
    if (
      ids.length !== this.#length ||
      !ids.every((id) => Number.isInteger(id) && id >= 0 && id < this.#vocabulary)
    ) {
      throw new InvalidInputError(
        "promptIds",
        `must be ${this.#length} token ids from 0 to ${this.#vocabulary - 1}`,
      );
    }
  }

  /** Encodes one prompt at a time, so that its bits do not depend on its neighbours. */
  async encode(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    const conditionings: PromptConditioning[] = [];
    for (const ids of promptIds) {
      conditionings.push(await this.#cache.get(ids, () => this.#conditionOf(ids)));
    }
    return conditionings;
  }

  async #conditionOf(ids: readonly number[]): Promise<PromptConditioning> {
    if (this.takesEmbeddings) return this.condition(await this.embed(ids));
    this.#check(ids);
    return { ids: Int32Array.from(ids) };
  }

  /** Whether `condition` can be used: not where the transformer takes token ids. */
  get takesEmbeddings(): boolean {
    return this.#crossAttention !== undefined;
  }

  /** Embeddings [S, E] → conditioning. */
  async condition(embeddings: Float32Array): Promise<PromptConditioning> {
    if (this.#crossAttention === undefined) throw new Error("this form takes prompts as token ids");
    const tensor = floatTensor(embeddings, [1, this.#length, this.#width]);
    const cross = await this.#crossAttention.use((session) => session.run({ embeddings: tensor }, "cross"));
    return { cross: floatData(cross) };
  }

  async release(): Promise<void> {
    await Promise.all([this.#encoder.release(), this.#crossAttention?.release()]);
  }

  /** Learned embeddings are used as stored, not normalized; without them the empty prompt is encoded. */
  async #makeUnconditional(checkpoint: DiffusersCheckpoint): Promise<PromptConditioning> {
    if (!checkpoint.text.learnableUnconditional) {
      const { bosTokenId, eosTokenId, padTokenId } = checkpoint.tokenizer;
      const ids = new Array<number>(this.#length).fill(padTokenId);
      ids[0] = bosTokenId;
      ids[1] = eosTokenId;
      return this.#conditionOf(ids);
    }
    if (!this.takesEmbeddings) return {};
    const weights = checkpoint.weights("learned_classifier_free_sampling_embeddings");
    try {
      return await this.condition(weights.tensor("embeddings", [this.#length, this.#width]));
    } finally {
      weights.close();
    }
  }
}
