// Turns prompts into what the transformer sees of them: its cross-attention's keys and values, computed once per prompt.

import type { DiffusersCheckpoint } from "../../checkpoint/diffusers-layout.ts";
import { graphBytes, graphPath } from "../../graph/cache.ts";
import { floatData, floatTensor, intTensor, Session, type SessionOptions } from "../../runtime/session.ts";
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
  readonly #encoder: Session;
  readonly #crossAttention: TransientSession;
  readonly #length: number;
  readonly #width: number;
  readonly #vocabulary: number;
  readonly #cache: PromptCache;
  /** The unconditional half of classifier-free guidance: the model's own embedding, or the empty prompt. */
  readonly unconditional: PromptConditioning;

  private constructor(
    encoder: Session,
    crossAttention: TransientSession,
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
    { cacheBytes = 0, ...options }: SessionOptions & { cacheBytes?: number },
  ): Promise<TextConditioner> {
    const once = { ...options, keepsMemory: false };
    const stays = options.provider !== "cpu" || graphBytes(graphs, "cross-attention") <= MAX_STAYING_BYTES;
    const encoder = await Session.create(graphPath(graphs, "text-encoder"), once);
    const crossAttention = new TransientSession(graphPath(graphs, "cross-attention"), { ...once, stays });
    const bare = new TextConditioner(encoder, crossAttention, checkpoint, { cross: new Float32Array(0) }, 0);
    try {
      const unconditional = await bare.#makeUnconditional(checkpoint);
      return new TextConditioner(encoder, crossAttention, checkpoint, unconditional, cacheBytes);
    } catch (error) {
      await bare.release();
      throw error;
    }
  }

  /** Unit-norm embeddings [S, E] of one prompt's token ids. */
  async embed(ids: readonly number[]): Promise<Float32Array> {
    if (
      ids.length !== this.#length ||
      !ids.every((id) => Number.isInteger(id) && id >= 0 && id < this.#vocabulary)
    ) {
      throw new InvalidInputError(
        "promptIds",
        `must be ${this.#length} token ids from 0 to ${this.#vocabulary - 1}`,
      );
    }
    const output = await this.#encoder.run({ ids: intTensor(ids, [1, this.#length]) }, "embeddings");
    return floatData(output);
  }

  /** Encodes one prompt at a time, so that its bits do not depend on its neighbours. */
  async encode(promptIds: readonly (readonly number[])[]): Promise<PromptConditioning[]> {
    const conditionings: PromptConditioning[] = [];
    for (const ids of promptIds) {
      conditionings.push(await this.#cache.get(ids, async () => this.condition(await this.embed(ids))));
    }
    return conditionings;
  }

  /** Embeddings [S, E] → conditioning. */
  async condition(embeddings: Float32Array): Promise<PromptConditioning> {
    const tensor = floatTensor(embeddings, [1, this.#length, this.#width]);
    const cross = await this.#crossAttention.use((session) => session.run({ embeddings: tensor }, "cross"));
    return { cross: floatData(cross) };
  }

  async release(): Promise<void> {
    await Promise.all([this.#encoder.release(), this.#crossAttention.release()]);
  }

  /** Learned embeddings are used as stored, not normalized; without them the empty prompt is encoded. */
  async #makeUnconditional(checkpoint: DiffusersCheckpoint): Promise<PromptConditioning> {
    if (!checkpoint.text.learnableUnconditional) {
      const { bosTokenId, eosTokenId, padTokenId } = checkpoint.tokenizer;
      const ids = new Array<number>(this.#length).fill(padTokenId);
      ids[0] = bosTokenId;
      ids[1] = eosTokenId;
      return this.condition(await this.embed(ids));
    }
    const weights = checkpoint.weights("learned_classifier_free_sampling_embeddings");
    try {
      return await this.condition(weights.tensor("embeddings", [this.#length, this.#width]));
    } finally {
      weights.close();
    }
  }
}
