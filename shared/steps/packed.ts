// Successive states of a job, packed: the last one whole, each earlier one as its difference from the one after it. A step changes
// few tokens, so a hundred states take little more than one, and whoever has the bytes needs nothing else to read them.

import { VqdError } from "../errors.ts";

/** A state is class ids as uint16 LE. */
const TOKEN_BYTES = 2;
const MORE = 0x80;
const BITS = 7;
/** Bytes of a number below 2^28, which no number of tokens exceeds. */
const MAX_NUMBER_BYTES = 4;

class Writer {
  #bytes: Uint8Array<ArrayBuffer>;
  #length = 0;

  constructor(size: number) {
    this.#bytes = new Uint8Array(size);
  }

  byte(value: number): void {
    if (this.#length === this.#bytes.length) this.#grow(1);
    this.#bytes[this.#length++] = value;
  }

  /** Seven bits in a byte, the lowest first; all but the last byte have the highest bit set. */
  number(value: number): void {
    let rest = value;
    for (; rest >= MORE; rest = Math.floor(rest / MORE)) this.byte((rest % MORE) + MORE);
    this.byte(rest);
  }

  all(bytes: Uint8Array): void {
    if (this.#length + bytes.length > this.#bytes.length) this.#grow(bytes.length);
    this.#bytes.set(bytes, this.#length);
    this.#length += bytes.length;
  }

  get written(): Uint8Array<ArrayBuffer> {
    return this.#bytes.subarray(0, this.#length);
  }

  #grow(least: number): void {
    const grown = new Uint8Array(2 * this.#bytes.length + least);
    grown.set(this.written);
    this.#bytes = grown;
  }
}

/** Tokens whose bytes differ, by their place. */
function differences(state: Uint8Array, next: Uint8Array): number[] {
  const places: number[] = [];
  for (let at = 0; at < state.length; at += TOKEN_BYTES) {
    if (state[at] !== next[at] || state[at + 1] !== next[at + 1]) places.push(at / TOKEN_BYTES);
  }
  return places;
}

/** The states, all of one length, in their order; there is at least one. */
export function packStates(states: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const last = states.at(-1);
  if (last === undefined) throw new RangeError("no states");
  const writer = new Writer(last.length + 64 * states.length);
  writer.all(last);
  for (let i = states.length - 2; i >= 0; i--) {
    const state = states[i] ?? last;
    if (state.length !== last.length) throw new RangeError("states of different lengths");
    const places = differences(state, states[i + 1] ?? last);
    writer.number(places.length);
    let expected = 0;
    for (const place of places) {
      writer.number(place - expected);
      writer.all(state.subarray(TOKEN_BYTES * place, TOKEN_BYTES * (place + 1)));
      expected = place + 1;
    }
  }
  return writer.written;
}

class Reader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  take(count: number): Uint8Array {
    const end = this.#at + count;
    if (end > this.#bytes.length) throw unreadable("it ends too early");
    const taken = this.#bytes.subarray(this.#at, end);
    this.#at = end;
    return taken;
  }

  number(): number {
    let value = 0;
    for (let i = 0; i < MAX_NUMBER_BYTES; i++) {
      const [byte = 0] = this.take(1);
      value += (byte % MORE) * 2 ** (BITS * i);
      if (byte < MORE) return value;
    }
    throw unreadable("a number is too long");
  }

  get isAtEnd(): boolean {
    return this.#at === this.#bytes.length;
  }
}

/** The `count` states of `size` bytes each that were packed, in their order. Throws a VqdError (internal) if these are not theirs. */
export function unpackStates(bytes: Uint8Array, count: number, size: number): Uint8Array<ArrayBuffer>[] {
  const reader = new Reader(bytes);
  let state = reader.take(size).slice();
  const states = [state];
  while (states.length < count) {
    state = state.slice();
    let place = 0;
    for (let left = reader.number(); left > 0; left--) {
      place += reader.number();
      const at = TOKEN_BYTES * place++;
      if (at >= size) throw unreadable("a token lies outside");
      state.set(reader.take(TOKEN_BYTES), at);
    }
    states.push(state);
  }
  if (!reader.isAtEnd) throw unreadable("it is too long");
  return states.toReversed();
}

const unreadable = (why: string): VqdError => new VqdError("internal", `packed states: ${why}`);
