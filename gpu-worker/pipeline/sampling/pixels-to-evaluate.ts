// Which latent pixels the model evaluates in a step.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import type { StepNoise } from "./random.ts";
import type { Jump } from "./schedule.ts";
import {
  lowestRanked,
  orderOf,
  type UnmaskingOrder,
  type UnmaskingSlot,
  unmaskingOf,
} from "./unmasking/order.ts";

/** What this depends on of an image being denoised; see `DenoiseSlot`. */
interface EvaluatedSlot extends UnmaskingSlot {
  readonly noise?: unknown;
}

/**
 * Positions, in increasing order, whose next class depends on the model. The random numbers that decide a pixel's draw are
 * known before the model runs, and most of them keep the pixel as it is whatever the model predicts. All pixels are
 * evaluated if the run's noise is recorded or a preview is wanted.
 */
export function pixelsToEvaluate(
  slot: EvaluatedSlot,
  { jump, noise, mask, isPreviewed }: { jump: Jump; noise: StepNoise; mask: number; isPreviewed: boolean },
): number[] {
  const { tokens, held, scheduler } = slot;
  const positions = Array.from(tokens, (_, position) => position);
  if (isPreviewed || slot.noise !== undefined) return positions;
  const order = orderOf(slot, jump);
  if (order?.isRelative === true) return positions;
  if (order !== undefined) return pixelsOfOrder(slot, order, jump, mask);
  const free = held === undefined ? positions : positions.filter((position) => held[position] === 0);
  if (jump.s < 0) return free;
  return free.filter(
    (position) =>
      scheduler.dependsOnModel?.(tokens[position] ?? outOfBounds(), jump, noise.ofDraw(position)) ?? true,
  );
}

/** The masked pixels, or only those to be unmasked if the order is known beforehand; and the drawn ones if some are remasked. */
function pixelsOfOrder(slot: EvaluatedSlot, order: UnmaskingOrder, jump: Jump, mask: number): number[] {
  const { tokens, held } = slot;
  const { unmasked, remasked } = unmaskingOf(slot, jump, mask);
  const positions = [...tokens.keys()];
  const masked = positions.filter((position) => tokens[position] === mask);
  const drawn =
    remasked === 0 ? [] : positions.filter((position) => tokens[position] !== mask && held?.[position] !== 1);
  const { rankOfPosition } = order;
  const toUnmask =
    rankOfPosition === undefined
      ? masked
      : lowestRanked(
          masked.map((position) => ({ position })),
          unmasked,
          ({ position }) => rankOfPosition(position),
        ).map(({ position }) => position);
  return [...toUnmask, ...drawn].toSorted((a, b) => a - b);
}
