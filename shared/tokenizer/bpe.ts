// Byte-level byte-pair encoding, its vocabulary derived from the list of merges alone.

/** First id of each group: bytes, bytes that end a word, merges (in order), then the special tokens. */
const WORD_END_BYTES = 256;
const FIRST_MERGE = 512;

const END_OF_WORD = "</w>";
/** Pairs are keyed `left * PAIR_BASE + right`; CLIP has 49,408 ids. */
const PAIR_BASE = 65_536;
/** Heap keys are `mergedId * POSITION_BASE + position`: exact in a double up to 2^16 ids and 2^32 bytes. */
const POSITION_BASE = 2 ** 32;

/** Most distinct words remembered, and the longest word worth remembering, in UTF-8 bytes. */
const CACHE_WORDS = 4_096;
const CACHE_WORD_BYTES = 64;

/** Printable Latin-1: ASCII 0x21 .. 0x7e, then 0xa1 .. 0xff without the soft hyphen. */
const isPrintable = (byte: number): boolean =>
  (byte >= 0x21 && byte <= 0x7e) || (byte >= 0xa1 && byte <= 0xac) || byte >= 0xae;

/**
 * The merges file spells bytes as printable characters (GPT-2's table): printable Latin-1 bytes stand for
 * themselves and come first in the vocabulary, the others follow as U+0100, U+0101, ...
 */
function byteAlphabet(): { charOf: string[]; idOf: Uint8Array } {
  const bytes = Array.from({ length: 256 }, (_, byte) => byte);
  const printable = bytes.filter(isPrintable);
  const others = bytes.filter((byte) => !isPrintable(byte));
  const charOf: string[] = [];
  const idOf = new Uint8Array(256);
  printable.forEach((byte, id) => {
    charOf[id] = String.fromCharCode(byte);
    idOf[byte] = id;
  });
  others.forEach((byte, i) => {
    charOf[printable.length + i] = String.fromCharCode(0x100 + i);
    idOf[byte] = printable.length + i;
  });
  return { charOf, idOf };
}

export interface Bpe {
  /** Ids below this one; the special tokens of a vocabulary come after. */
  readonly size: number;
  /** Ids of one word without white space; time is n log n in its bytes. */
  encodeWord(word: string): readonly number[];
}

/**
 * Builds the encoder from a merges file: one `left right` pair a line, the most frequent first.
 * Throws a RangeError for a line that is no pair of known symbols.
 */
export function createBpe(mergesText: string): Bpe {
  const { charOf, idOf } = byteAlphabet();
  const idOfSymbol = new Map<string, number>();
  for (const [id, char] of charOf.entries()) {
    idOfSymbol.set(char, id);
    idOfSymbol.set(char + END_OF_WORD, WORD_END_BYTES + id);
  }
  const mergeOf = new Map<number, number>();
  let size = FIRST_MERGE;
  for (const line of mergesText.split("\n")) {
    if (line === "" || line.startsWith("#version")) continue;
    const space = line.indexOf(" ");
    const left = idOfSymbol.get(line.slice(0, space));
    const right = idOfSymbol.get(line.slice(space + 1));
    if (left === undefined || right === undefined) {
      throw new RangeError(`merge ${size - FIRST_MERGE + 1} does not join two known symbols`);
    }
    mergeOf.set(left * PAIR_BASE + right, size);
    idOfSymbol.set(line.slice(0, space) + line.slice(space + 1), size);
    size++;
  }

  const encoder = new TextEncoder();
  const cache = new Map<string, readonly number[]>();

  const encodeWord = (word: string): readonly number[] => {
    const cached = cache.get(word);
    if (cached !== undefined) return cached;
    const bytes = encoder.encode(word);
    const ids = Int32Array.from(bytes, (byte) => idOf[byte] ?? 0);
    if (ids.length > 0) ids[ids.length - 1] = (ids[ids.length - 1] ?? 0) + WORD_END_BYTES;
    const merged = mergeAll(ids, mergeOf);
    if (bytes.length <= CACHE_WORD_BYTES) {
      // First in, first out: common words come back at once, and the size stays bounded.
      if (cache.size >= CACHE_WORDS) {
        for (const oldest of cache.keys()) {
          cache.delete(oldest);
          break;
        }
      }
      cache.set(word, merged);
    }
    return merged;
  };
  return { size, encodeWord };
}

/**
 * Applies merges, lowest rank first and leftmost among equals, over a linked list with a heap of candidates.
 * The reference merges all places of the best pair before it looks again; that is the same, since a merge made
 * of a merge's result always has a later rank.
 */
function mergeAll(ids: Int32Array, mergeOf: ReadonlyMap<number, number>): number[] {
  const { length } = ids;
  const next = Int32Array.from({ length }, (_, i) => (i + 1 < length ? i + 1 : -1));
  const prev = Int32Array.from({ length }, (_, i) => i - 1);
  const heap: number[] = [];

  const consider = (left: number): void => {
    const right = next[left] ?? -1;
    if (right < 0) return;
    const merged = mergeOf.get((ids[left] ?? 0) * PAIR_BASE + (ids[right] ?? 0));
    if (merged !== undefined) push(heap, merged * POSITION_BASE + left);
  };

  for (let i = 0; i < length; i++) consider(i);
  while (heap.length > 0) {
    const key = pop(heap);
    const left = key % POSITION_BASE;
    const merged = (key - left) / POSITION_BASE;
    const right = next[left] ?? -1;
    // Stale if a neighbour has been merged meanwhile: dead places hold -1 and form no known pair.
    if (right < 0 || mergeOf.get((ids[left] ?? 0) * PAIR_BASE + (ids[right] ?? 0)) !== merged) continue;
    ids[left] = merged;
    ids[right] = -1;
    const after = next[right] ?? -1;
    next[left] = after;
    next[right] = -1;
    if (after >= 0) prev[after] = left;
    const before = prev[left] ?? -1;
    if (before >= 0) consider(before);
    consider(left);
  }
  const result: number[] = [];
  for (let i = 0; i >= 0 && i < length; i = next[i] ?? -1) result.push(ids[i] ?? 0);
  return result;
}

/** Binary min-heap of numbers. */
function push(heap: number[], key: number): void {
  let i = heap.length;
  heap.push(key);
  while (i > 0) {
    const parent = (i - 1) >> 1;
    const parentKey = heap[parent] ?? 0;
    if (parentKey <= key) break;
    heap[i] = parentKey;
    i = parent;
  }
  heap[i] = key;
}

function pop(heap: number[]): number {
  const top = heap[0] ?? 0;
  const last = heap.pop() ?? 0;
  const { length } = heap;
  if (length === 0) return top;
  let i = 0;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= length) break;
    if (child + 1 < length && (heap[child + 1] ?? 0) < (heap[child] ?? 0)) child++;
    const childKey = heap[child] ?? 0;
    if (childKey >= last) break;
    heap[i] = childKey;
    i = child;
  }
  heap[i] = last;
  return top;
}
