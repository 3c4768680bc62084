// A slot's step where the graph draws: what it is asked for, and what becomes of its answer.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { type DenoiseSlot, keepHeld, type SlotStep } from "../denoise-slot.ts";
import type { DrawnPixels, DrawRequest } from "./device-pass.ts";
import { type DrawCoefficients, REDRAW } from "../sampling/jump-draw.ts";
import { type DrawnPixel, drawRemasked } from "../sampling/unmasking/remasking.ts";
import {
  type Candidate,
  lowestRanked,
  orderOf,
  type UnmaskingOrder,
  unmaskingOf,
} from "../sampling/unmasking/order.ts";

/** Truncation rates are below this. */
const NO_TRUNCATION = 2;
/** Far below any difference of two log-probabilities. */
const LOWEST = -1e30;

/**
 * Whether the graph draws this slot's pixels: not from recorded noise, nor for schedulers that only draw on the CPU, nor in an order
 * in which a pixel depends on the others.
 */
export const drawsInGraph = ({ noise, scheduler, order }: DenoiseSlot): boolean =>
  noise === undefined && scheduler.drawCoefficients !== undefined && order?.isRelative !== true;

/** `classes` excludes the mask. */
export function drawRequest({ slot, jump, noise, evaluated }: SlotStep, classes: number): DrawRequest {
  const { tokens, prompt, guidanceScale, truncationRate, scheduler } = slot;
  const isGuided = guidanceScale > 1;
  const order = orderOf(slot, jump);
  const coefficients: DrawCoefficients =
    order === undefined ? (scheduler.drawCoefficients?.(jump) ?? outOfBounds()) : REDRAW;
  const isTruncated = truncationRate < 1;
  return {
    tokens,
    timestep: jump.t,
    prompt,
    negative: isGuided ? slot.negative : undefined,
    evaluated,
    uniformsOf: (position) => noise.ofDraw(position),
    settings: {
      ...coefficients,
      guidance: isGuided ? guidanceScale : 1,
      sharpness: 1 / slot.temperature,
      truncation: isTruncated ? truncationRate : NO_TRUNCATION,
      // All classes below this together do not have the probability that truncation removes.
      lowest: isTruncated ? Math.log((1 - truncationRate) / classes) : LOWEST,
      purity: order?.sharpening ?? 0,
    },
  };
}

/** Moves the slot's tokens, in place. `classes` excludes the mask, and is the mask's id. */
export function applyDrawn(step: SlotStep, drawn: DrawnPixels, classes: number): void {
  const { slot, jump, noise, evaluated, preview } = step;
  const { tokens, held, scheduler } = slot;
  if (preview !== undefined && drawn.mostLikely !== undefined) {
    preview.set(drawn.mostLikely);
    keepHeld(preview, slot);
  }
  const order = orderOf(slot, jump);
  if (order !== undefined) {
    unmask(step, order, drawn, classes);
    return;
  }
  for (const [place, position] of evaluated.entries()) {
    const current = tokens[position] ?? outOfBounds();
    if (held?.[position] === 1) continue;
    // With a preview, all pixels are evaluated, also those that keep their class in any case.
    if (scheduler.dependsOnModel?.(current, jump, noise.ofDraw(position)) === false) continue;
    tokens[position] = drawn.classes[place] ?? outOfBounds();
  }
}

function unmask(
  { slot, jump, noise, evaluated }: SlotStep,
  order: UnmaskingOrder,
  drawn: DrawnPixels,
  classes: number,
): void {
  const { tokens, held } = slot;
  const { unmasked, remasked, maskedShare } = unmaskingOf(slot, jump, classes);
  const candidates: Candidate[] = [];
  const unmaskedBefore: DrawnPixel[] = [];
  for (const [place, position] of evaluated.entries()) {
    const confidence = drawn.certainty[place] ?? outOfBounds();
    const purity = drawn.purity[place] ?? outOfBounds();
    const token = drawn.classes[place] ?? outOfBounds();
    if (tokens[position] === classes) candidates.push({ position, token, purity, confidence });
    else if (remasked > 0 && held?.[position] !== 1) unmaskedBefore.push({ position, confidence });
  }
  const context = { noise, maskedShare };
  const chosen = lowestRanked(candidates, unmasked, (candidate) => order.rank(candidate, context));
  for (const { position, token } of chosen) tokens[position] = token;
  for (const { position } of drawRemasked(unmaskedBefore, remasked, noise)) tokens[position] = classes;
}
