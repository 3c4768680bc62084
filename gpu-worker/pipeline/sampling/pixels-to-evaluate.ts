// Which latent pixels of a step the model is asked about.

import type { StepNoise } from "./random.ts";
import type { Jump } from "./schedule.ts";
import { lowest, orderOf, type UnmaskingOrder, type UnmaskingSlot, unmaskingOf } from "./unmasking.ts";

/** What decides it of an image that is being denoised; see `DenoiseSlot`. */
interface EvaluatedSlot extends UnmaskingSlot {
  readonly noise?: unknown;
}

/**
 * Positions, in rising order, whose next class depends on the model. The numbers that decide a pixel's draw are known
 * before the model has run, and most of them keep the pixel as it is whatever the model says; all pixels are asked
 * about where the run's noise is recorded or a preview is wanted.
 */
export function pixelsToEvaluate(
  slot: EvaluatedSlot,
  { jump, noise, mask, isPreviewed }: { jump: Jump; noise: StepNoise; mask: number; isPreviewed: boolean },
): number[] {
  const { tokens, scheduler } = slot;
  const positions = Array.from(tokens, (_, position) => position);
  if (isPreviewed || slot.noise !== undefined) return positions;
  const order = orderOf(slot, jump);
  if (order !== undefined) return askedInOrder(slot, order, jump, mask);
  if (jump.s < 0) return positions;
  return positions.filter(
    (position) => scheduler.dependsOnModel?.(tokens[position] ?? 0, jump, noise.ofDraw(position)) ?? true,
  );
}

/** The masked pixels, or of an order that is known beforehand those that it unmasks; and the drawn ones if some are masked again. */
function askedInOrder(slot: EvaluatedSlot, order: UnmaskingOrder, jump: Jump, mask: number): number[] {
  const { tokens } = slot;
  const { unmasked, remasked } = unmaskingOf(slot, jump, mask);
  const positions = [...tokens.keys()];
  const masked = positions.filter((position) => tokens[position] === mask);
  const drawn = remasked === 0 ? [] : positions.filter((position) => tokens[position] !== mask);
  const { rankOfPosition } = order;
  const toUnmask =
    rankOfPosition === undefined
      ? masked
      : lowest(
          masked.map((position) => ({ position })),
          unmasked,
          ({ position }) => rankOfPosition(position),
        ).map(({ position }) => position);
  return [...toUnmask, ...drawn].toSorted((a, b) => a - b);
}
