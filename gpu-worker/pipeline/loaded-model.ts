// The loaded parts of a checkpoint, which several pipelines can share.

import { readFileSync } from "node:fs";
import { type ClipTokenizer, createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import type { Denoiser } from "./denoiser.ts";
import type { PipelineInfo } from "./info.ts";
import type { NamedSchedulers } from "./sampling/schedulers.ts";
import type { TextConditioner } from "./text-conditioner.ts";
import type { VQModel } from "./vq-model.ts";

interface Parts {
  readonly info: PipelineInfo;
  readonly mergesPath: string;
  readonly schedulers: NamedSchedulers;
  readonly conditioner: TextConditioner;
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
  readonly conditioner: TextConditioner;
  readonly denoiser: Denoiser;
  readonly vqModel: VQModel;
  readonly #mergesPath: string;
  #tokenizer: ClipTokenizer | undefined;
  #owners = 0;
  #freed = false;

  constructor({ info, mergesPath, schedulers, conditioner, denoiser, vqModel }: Parts) {
    this.info = info;
    this.#mergesPath = mergesPath;
    this.schedulers = schedulers;
    this.conditioner = conditioner;
    this.denoiser = denoiser;
    this.vqModel = vqModel;
  }

  /** Created on first use: reading the vocabulary takes a while, and callers with token ids never need it. */
  get tokenizer(): ClipTokenizer {
    this.#tokenizer ??= createClipTokenizer(readFileSync(this.#mergesPath, "utf8"));
    return this.#tokenizer;
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
