// What a checkpoint loads, shared by the pipelines that are made of it.

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
 * A checkpoint's sessions, tokenizer and schedulers. Every pipeline made of it is an owner, from its creation to its
 * `release()`; when the last owner lets go, the sessions are freed, and no pipeline can be made of it any more.
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

  /** The vocabulary takes a while to read, and callers with token ids never need it. */
  get tokenizer(): ClipTokenizer {
    this.#tokenizer ??= createClipTokenizer(readFileSync(this.#mergesPath, "utf8"));
    return this.#tokenizer;
  }

  /** Counts one more owner. Throws when the sessions are gone. */
  acquire(): void {
    if (this.#freed) throw new Error("the model has been released by all pipelines that shared it");
    this.#owners++;
  }

  /** Called once by each owner. */
  async release(): Promise<void> {
    this.#owners--;
    if (this.#owners > 0) return;
    this.#freed = true;
    await Promise.all([this.conditioner.release(), this.denoiser.release(), this.vqModel.release()]);
  }
}
