// VQD_SLOTS=auto: how many images a pass should take on a device, found out by timing passes of more and more of them.

/** Makes passes of some size. */
export interface PassTimer {
  /** Milliseconds of one pass over `images` images. Rejects if it cannot be made, for lack of memory. */
  time(images: number): Promise<number>;
}

export interface SlotTime {
  readonly images: number;
  /** Of a pass over so many images; null if there was no memory for it. */
  readonly ms: number | null;
}

export interface SlotChoice {
  readonly slots: number;
  /** The largest pass that was made, in images. */
  readonly largest: number;
  readonly times: readonly SlotTime[];
}

export const MAX_AUTO_SLOTS = 64;

/**
 * Images whose pass, by estimate, fits beside the weights, at least one: some drivers lose the device when its memory ends, instead of
 * refusing a pass. The most there are where the memory is not known.
 */
export function slotsThatFit({
  memoryBytes = Infinity,
  weightBytes,
  passBytesPerRow,
}: {
  readonly memoryBytes: number | undefined;
  readonly weightBytes: number;
  readonly passBytesPerRow: number;
}): number {
  // A guided image has two rows.
  const images = Math.floor((memoryBytes - weightBytes) / (2 * passBytesPerRow));
  return Math.max(1, Math.min(MAX_AUTO_SLOTS, images));
}

/** The least gain in time per image for which twice as many images wait for each other. */
const WORTHWHILE = 0.9;
/** The fastest of so many passes counts: whatever disturbs one only ever adds time. */
const REPETITIONS = 3;

/**
 * Doubles the number of images until the time per image no longer falls by a tenth, or memory ends. A pass that takes more
 * images makes each of them wait longer for its step, so it must be worth it.
 */
export async function chooseSlots(timer: PassTimer, limit = MAX_AUTO_SLOTS): Promise<SlotChoice> {
  const times: SlotTime[] = [];
  let chosen: { images: number; msPerImage: number } | undefined;
  let largest = 1;
  for (let images = 1; images <= limit; images *= 2) {
    const ms = await fastest(timer, images).catch((error: unknown) => {
      // A device that cannot make the smallest pass serves nothing.
      if (images === 1) throw error;
      return null;
    });
    times.push({ images, ms });
    if (ms === null) break;
    largest = images;
    const msPerImage = ms / images;
    if (chosen !== undefined && msPerImage > WORTHWHILE * chosen.msPerImage) break;
    chosen = { images, msPerImage };
  }
  return { slots: chosen?.images ?? 1, largest, times };
}

async function fastest(timer: PassTimer, images: number): Promise<number> {
  // The first pass of a size compiles shaders, chooses kernels and allocates.
  await timer.time(images);
  let best = Infinity;
  for (let i = 0; i < REPETITIONS; i++) best = Math.min(best, await timer.time(images));
  return best;
}
