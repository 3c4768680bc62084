// What a pipeline has loaded of a checkpoint.

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

/** A checkpoint's sessions, tokenizer and schedulers. */
export class LoadedModel {
  readonly info: PipelineInfo;
  readonly schedulers: NamedSchedulers;
  readonly conditioner: TextConditioner;
  readonly denoiser: Denoiser;
  readonly vqModel: VQModel;
  readonly #mergesPath: string;
  #tokenizer: ClipTokenizer | undefined;

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

  async release(): Promise<void> {
    await Promise.all([this.conditioner.release(), this.denoiser.release(), this.vqModel.release()]);
  }
}
