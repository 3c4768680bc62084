// Counter-based random numbers: each is a function of what it is for, never of the order of calls.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";

/**
 * Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011): turns a counter of four and a key
 * of two 32-bit words into four random words, written to `out`. Words are passed as scalars rather than arrays because this
 * runs hundreds of thousands of times per image.
 */
export function philox4x32(
  out: Uint32Array,
  counter0: number,
  counter1: number,
  counter2: number,
  counter3: number,
  key0: number,
  key1: number,
): void {
  let c0 = counter0;
  let c1 = counter1;
  let c2 = counter2;
  let c3 = counter3;
  let k0 = key0;
  let k1 = key1;
  for (let round = 0; round < 10; round++) {
    const high0 = multiplyHigh(0xd251, 0x1f53, c0);
    const low0 = Math.imul(0xd2511f53, c0);
    const high1 = multiplyHigh(0xcd9e, 0x8d57, c2);
    const low1 = Math.imul(0xcd9e8d57, c2);
    c0 = high1 ^ c1 ^ k0;
    c1 = low1;
    c2 = high0 ^ c3 ^ k1;
    c3 = low0;
    k0 = (k0 + 0x9e3779b9) | 0;
    k1 = (k1 + 0xbb67ae85) | 0;
  }
  out[0] = c0;
  out[1] = c1;
  out[2] = c2;
  out[3] = c3;
}

/** Upper 32 bits of the unsigned product of (high, low), two halves of 16 bits, and a word. */
function multiplyHigh(high: number, low: number, word: number): number {
  const wordLow = word & 0xffff;
  const wordHigh = word >>> 16;
  const middle = high * wordLow + ((low * wordLow) >>> 16);
  const cross = low * wordHigh + (middle & 0xffff);
  return (high * wordHigh + (middle >>> 16) + (cross >>> 16)) | 0;
}

/** The source of uniform numbers for the Gumbel-max sampler. */
export interface UniformSource {
  /** Fills `out` with one number in (0, 1) per class for the latent pixel `position`. */
  fill(out: Float64Array, position: number): void;
  /** One number in (0, 1) for the latent pixel itself, where those are recorded too. */
  ofPosition?(position: number): number;
}

/** Two numbers in (0, 1) for the draw of a latent pixel: whether it changes, and to which class. */
export interface PixelUniforms {
  readonly change: number;
  readonly choice: number;
}

const TWO_POW_32 = 2 ** 32;
/** Above every timestep. */
const PASS_STRIDE = 2 ** 16;
/** First counter words of a pixel's own numbers; the counters of classes, one per four classes, stay below them. */
const POSITION_DOMAIN = 0x80000000;
const DRAW_DOMAIN = 0x80000001;
const CONFIDENCE_DOMAIN = 0x80000002;
const REMASKING_DOMAIN = 0x80000003;
const SOURCE_DOMAIN = 0x80000004;

/**
 * The noise of one image at one timestep: depends only on (seed, image, timestep, position, class), so that an image is the
 * same alone or in a batch, in one go or resumed.
 */
export class StepNoise implements UniformSource {
  readonly #key0: number;
  readonly #key1: number;
  readonly #image: number;
  readonly #timestep: number;
  readonly #words = new Uint32Array(4);

  /**
   * `seed` is an integer from 0 to 2^64 - 1; `image` its index among those with the seed; `pass` counts the steps of the run at
   * this timestep, from 0.
   */
  constructor(seed: number | bigint, image: number, timestep: number, pass = 0) {
    const words = BigInt(seed);
    this.#key0 = Number(BigInt.asIntN(32, words));
    this.#key1 = Number(BigInt.asIntN(32, words >> 32n));
    this.#image = image;
    this.#timestep = timestep + pass * PASS_STRIDE;
  }

  fill(out: Float64Array, position: number): void {
    const words = this.#words;
    for (let i = 0; i < out.length; i += 4) {
      philox4x32(words, i >> 2, position, this.#timestep, this.#image, this.#key0, this.#key1);
      for (let j = 0; j < 4 && i + j < out.length; j++) out[i + j] = uniform(words[j] ?? outOfBounds());
    }
  }

  /** The two numbers of a latent pixel's draw, with 53 bits each: 32 bits could not choose a class below 2^-32. */
  ofDraw(position: number): PixelUniforms {
    return this.#pair(DRAW_DOMAIN, position);
  }

  /** The same from a separate sequence, for the noise that is added to a source. */
  ofSource(position: number): PixelUniforms {
    return this.#pair(SOURCE_DOMAIN, position);
  }

  /** One number in (0, 1) for the latent pixel itself, different from those of its classes. */
  ofPosition(position: number): number {
    return this.#single(POSITION_DOMAIN, position);
  }

  /** The same from a separate sequence, for the noise of confidence. */
  ofConfidence(position: number): number {
    return this.#single(CONFIDENCE_DOMAIN, position);
  }

  /** The same from a separate sequence, for whether a pixel is remasked. */
  ofRemasking(position: number): number {
    return this.#single(REMASKING_DOMAIN, position);
  }

  #pair(domain: number, position: number): PixelUniforms {
    const words = this.#words;
    philox4x32(words, domain, position, this.#timestep, this.#image, this.#key0, this.#key1);
    const word = (i: number): number => words[i] ?? outOfBounds();
    return { change: uniform53(word(0), word(1)), choice: uniform53(word(2), word(3)) };
  }

  #single(domain: number, position: number): number {
    const words = this.#words;
    philox4x32(words, domain, position, this.#timestep, this.#image, this.#key0, this.#key1);
    return uniform(words[0] ?? outOfBounds());
  }
}

/** Half a step away from both ends, because the logarithm of a logarithm is taken. */
const uniform = (word: number): number => (word + 0.5) / TWO_POW_32;

/** 53 bits of the two words, half a step away from both ends. */
const uniform53 = (high: number, low: number): number =>
  (high * TWO_POW_21 + (low >>> 11) + 0.5) / (TWO_POW_32 * TWO_POW_21);
const TWO_POW_21 = 2 ** 21;

/** A random seed, for callers who give none. */
export function randomSeed(): number {
  return crypto.getRandomValues(new Uint32Array(1))[0] ?? outOfBounds();
}
