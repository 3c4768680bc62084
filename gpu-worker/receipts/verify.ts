// Checks an image's receipt by making steps again.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { Receipt } from "@vqd/shared/receipts/receipt.ts";
import { firstMisfit } from "@vqd/shared/receipts/receipt.ts";
import { fromJsonSeed } from "@vqd/shared/sampling/seed.ts";
import type { VQDiffusionPipeline } from "../pipeline/pipeline.ts";

/** A receipt, or what comes with it, does not fit: the message says what. */
export class ReceiptError extends Error {
  override readonly name = "ReceiptError";
}

/**
 * Makes `steps` again, each from the state before it, and compares what comes out with the state after it. `states` are those of
 * the receipt's chain. Throws a ReceiptError unless everything fits. Results are comparable only between equal numerics (weights,
 * provider, quantization, runtime), so others are refused.
 */
export async function verifyReceipt(
  pipeline: VQDiffusionPipeline,
  receipt: Receipt,
  states: readonly Uint16Array[],
  steps: readonly number[],
): Promise<void> {
  const { info } = pipeline;
  if (receipt.version !== info.version) {
    throw new ReceiptError(
      `it is of model version ${receipt.version.slice(0, 12)}, not ${info.version.slice(0, 12)}`,
    );
  }
  if (receipt.numericsId !== info.numericsId) {
    throw new ReceiptError(
      `it was made with the numerics ${receipt.numericsId}, and these are ${info.numericsId}`,
    );
  }
  const misfit = await firstMisfit(receipt, states);
  if (misfit !== undefined) {
    throw new ReceiptError(
      `the tokens after step ${receipt.firstStep + misfit} are not those that were signed`,
    );
  }
  const [prompt] = await pipeline.encodePrompt([receipt.prompt]);
  if (prompt === undefined) throw new Error("nothing was encoded");
  const negative = await pipeline.encodeNegativePrompt(receipt.negativePrompt);
  const held = receipt.held === null ? undefined : Uint8Array.from(receipt.held, Number);
  const { seed, place, chain: _chain, ...settings } = receipt;
  for (const step of steps) {
    const index = step - receipt.firstStep;
    const before = states[index - 1];
    const after = states[index];
    if (before === undefined || after === undefined) {
      const last = receipt.firstStep + states.length - 1;
      throw new ReceiptError(`it has the steps ${receipt.firstStep + 1} to ${last}, and no step ${step}`);
    }
    const tokens = before.slice();
    const slot = pipeline.makeSlot({
      ...settings,
      tokens,
      held,
      stepIndex: step - 1,
      seed: fromJsonSeed(seed),
      image: place,
      prompt,
      negative,
    });
    await pipeline.stepSlots([slot]);
    const differing = tokens.reduce(
      (sum, token, i) => sum + (token === (after[i] ?? outOfBounds()) ? 0 : 1),
      0,
    );
    if (differing > 0) throw new ReceiptError(`step ${step} makes ${differing} other tokens than it says`);
  }
}
