// Records the states of a call of the pipeline, and makes receipts of them.

import type { webcrypto } from "node:crypto";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { chainOf, type Receipt, signReceipt } from "@vqd/shared/receipts/receipt.ts";
import type { DenoiseSlot, PipelineInfo } from "../pipeline/pipeline.ts";
import { receiptJson } from "./file.ts";

/** Give its `onStart` and `onStep` to the call. */
export class ReceiptRecorder {
  /** Of each image. */
  readonly #states: Uint16Array[][] = [];
  readonly #slots: (Pick<Receipt, "firstStep" | "held" | "place"> | undefined)[] = [];

  readonly #privateKey: webcrypto.CryptoKey;

  constructor(privateKey: webcrypto.CryptoKey) {
    this.#privateKey = privateKey;
  }

  readonly onStart = (slots: readonly DenoiseSlot[]): void => {
    for (const { tokens, stepIndex, held, image } of slots) {
      this.#states.push([tokens.slice()]);
      this.#slots.push({
        firstStep: stepIndex,
        held: held === undefined ? null : held.join(""),
        place: image,
      });
    }
  };

  readonly onStep = (_step: number, _total: number, slots: readonly DenoiseSlot[]): void => {
    for (const [index, { tokens }] of slots.entries()) this.#states[index]?.push(tokens.slice());
  };

  /** The receipt of an image as the text of a file, once the call is done. `settings` are those of the call, and the rest its model. */
  async receiptOf(
    index: number,
    settings: Omit<Receipt, "v" | "version" | "numericsId" | "firstStep" | "held" | "place" | "chain">,
    { version, numericsId }: Pick<PipelineInfo, "version" | "numericsId">,
  ): Promise<string> {
    const states = this.#states[index] ?? outOfBounds();
    const start = this.#slots[index] ?? outOfBounds();
    const content = {
      v: 1 as const,
      version,
      numericsId,
      ...settings,
      ...start,
      chain: await chainOf(states),
    };
    const receipt = await signReceipt(content, this.#privateKey);
    return receiptJson({ receipt, states });
  }
}
