// The loaded parts of a checkpoint, which several pipelines can share.

import type { Denoiser } from "./denoiser.ts";
import type { PipelineInfo } from "./info.ts";
import type { NamedSchedulers } from "./sampling/schedulers.ts";
import type { Conditioner } from "./conditioning/prompt-conditioning.ts";
import type { PromptReader } from "./conditioning/prompt-reader.ts";
import type { VQModel } from "./vq-model.ts";

interface Parts {
  readonly info: PipelineInfo;
  readonly tokenize: PromptReader;
  readonly schedulers: NamedSchedulers;
  readonly conditioner: Conditioner;
  readonly denoiser: Denoiser;
  readonly vqModel: VQModel;
}

/**
 * A checkpoint's sessions, tokenizer and schedulers. Every pipeline that uses it is an owner, from its creation to its
 * `release()`; when the last owner releases it, the sessions are freed, and no new pipeline can use it.
 */
export class LoadedModel {
  readonly info: PipelineInfo;
  readonly schedulers: NamedSchedulers;
  readonly conditioner: Conditioner;
  readonly denoiser: Denoiser;
  readonly vqModel: VQModel;
  readonly tokenize: PromptReader;
  #owners = 0;
  #freed = false;

  constructor({ info, tokenize, schedulers, conditioner, denoiser, vqModel }: Parts) {
    this.info = info;
    this.tokenize = tokenize;
    this.schedulers = schedulers;
    this.conditioner = conditioner;
    this.denoiser = denoiser;
    this.vqModel = vqModel;
  }

  /** Adds an owner. Throws if the sessions have been freed. */
  acquire(): void {
    if (this.#freed) throw new Error("the model has been released by all pipelines that shared it");
    this.#owners++;
  }

  /** To be called once by each owner. */
  async release(): Promise<void> {
    this.#owners--;
    if (this.#owners > 0) return;
    this.#freed = true;
    await Promise.all([this.conditioner.release(), this.denoiser.release(), this.vqModel.release()]);
  }
}
