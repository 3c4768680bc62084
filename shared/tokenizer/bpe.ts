// Byte-level byte-pair encoding of one word.

import { outOfBounds } from "../out-of-bounds.ts";
import {
  BYTE_CHARS,
  END_OF_WORD,
  indexSymbols,
  mergedSymbol,
  type Vocabulary,
  VocabularyError,
} from "./vocabulary.ts";

/** Pairs are keyed `left * PAIR_BASE + right`; ids are uint16. */
const PAIR_BASE = 65_536;
/** Heap keys are `rank * POSITION_BASE + position`: exact in a double up to 2^16 merges and 2^32 bytes. */
const POSITION_BASE = 2 ** 32;

/** Most distinct words remembered, and the longest word worth remembering, in UTF-8 bytes. */
const CACHE_WORDS = 4_096;
const CACHE_WORD_BYTES = 64;

export interface Bpe {
  /** Number of symbols; ids of added tokens start here. */
  readonly size: number;
  /** Ids of one word without white space; time is n log n in its bytes. */
  encodeWord(word: string): readonly number[];
}

interface Merges {
  /** Rank of the merge of a pair of ids, 0 being applied first. */
  readonly rankOf: ReadonlyMap<number, number>;
  /** Id produced by the merge of each rank. */
  readonly idOf: Uint16Array;
}

/**
 * Builds the encoder. This takes tens of milliseconds, so do it once. Bytes missing from the vocabulary become `unkTokenId`.
 * Throws a VocabularyError if the merges do not fit the symbols.
 */
export function createBpe(vocabulary: Vocabulary, unkTokenId: number): Bpe {
  const ids = indexSymbols(vocabulary);
  const merges = indexMerges(vocabulary.merges, ids);
  const inner = new Uint16Array(256);
  const last = new Uint16Array(256);
  for (const { byte, char } of BYTE_CHARS) {
    inner[byte] = ids.get(char) ?? unkTokenId;
    last[byte] = ids.get(char + END_OF_WORD) ?? unkTokenId;
  }

  const encoder = new TextEncoder();
  const cache = new Map<string, readonly number[]>();

  const encodeWord = (word: string): readonly number[] => {
    const cached = cache.get(word);
    if (cached !== undefined) return cached;
    const bytes = encoder.encode(word);
    const end = bytes.length - 1;
    const merged = mergeAll(
      Int32Array.from(bytes, (byte, i) => (i === end ? last : inner)[byte] ?? outOfBounds()),
      merges,
    );
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
  return { size: ids.size, encodeWord };
}

/**
 * If a pair is listed twice, its later rank counts, as in the reference. Throws a VocabularyError for merges that do not fit
 * the symbols.
 */
function indexMerges(merges: readonly string[], ids: ReadonlyMap<string, number>): Merges {
  const rankOf = new Map<number, number>();
  const idOf = new Uint16Array(merges.length);
  for (const [rank, merge] of merges.entries()) {
    const space = merge.indexOf(" ");
    const left = ids.get(merge.slice(0, space));
    const right = ids.get(merge.slice(space + 1));
    const result = ids.get(mergedSymbol(merge));
    if (left === undefined || right === undefined) {
      throw new VocabularyError(
        `merge ${rank + 1}, ${JSON.stringify(merge)}, does not join two known symbols`,
      );
    }
    if (result === undefined) {
      throw new VocabularyError(
        `merge ${rank + 1}, ${JSON.stringify(merge)}, produces a symbol that has no id`,
      );
    }
    rankOf.set(left * PAIR_BASE + right, rank);
    idOf[rank] = result;
  }
  return { rankOf, idOf };
}

/**
 * A stricter check than `createBpe` needs: also throws a VocabularyError for symbols that are neither bytes nor produced by a
 * merge, which is how a truncated merges file shows.
 */
export function checkMerges(merges: readonly string[], ids: ReadonlyMap<string, number>): void {
  const made = new Set<number | undefined>(indexMerges(merges, ids).idOf);
  for (const { char } of BYTE_CHARS) made.add(ids.get(char)).add(ids.get(char + END_OF_WORD));
  const rank = merges.findIndex((merge) => merge.split(" ").some((symbol) => !made.has(ids.get(symbol))));
  if (rank >= 0) {
    throw new VocabularyError(
      `merge ${rank + 1}, ${JSON.stringify(merges[rank])}, joins a symbol that no merge produces`,
    );
  }
  // Such a symbol could never be produced. Without the end-of-word mark it may be a special token.
  for (const [symbol, id] of ids) {
    if (symbol.endsWith(END_OF_WORD) && !made.has(id)) {
      throw new VocabularyError(`no merge produces ${JSON.stringify(symbol)}, which has id ${id}`);
    }
  }
}

/**
 * Applies merges, lowest rank first and leftmost among equals, over a linked list with a heap of candidates, as the
 * reference does.
 */
function mergeAll(ids: Int32Array, { rankOf, idOf }: Merges): number[] {
  const { length } = ids;
  const next = Int32Array.from({ length }, (_, i) => (i + 1 < length ? i + 1 : -1));
  const prev = Int32Array.from({ length }, (_, i) => i - 1);
  const heap: number[] = [];

  /** Rank of the pair starting at `left`; undefined if there is no such merge. */
  const rankAt = (left: number): number | undefined => {
    const right = next[left] ?? outOfBounds();
    return right < 0
      ? undefined
      : rankOf.get((ids[left] ?? outOfBounds()) * PAIR_BASE + (ids[right] ?? outOfBounds()));
  };
  const consider = (left: number): void => {
    const rank = rankAt(left);
    if (rank !== undefined) push(heap, rank * POSITION_BASE + left);
  };

  for (let i = 0; i < length; i++) consider(i);
  while (heap.length > 0) {
    const key = pop(heap);
    const left = key % POSITION_BASE;
    const merged = idOf[(key - left) / POSITION_BASE] ?? outOfBounds();
    const right = next[left] ?? outOfBounds();
    // Stale if a neighbour has been merged meanwhile: dead places hold -1 and form no known pair.
    const rank = rankAt(left);
    if (rank === undefined || idOf[rank] !== merged) continue;
    ids[left] = merged;
    ids[right] = -1;
    const after = next[right] ?? outOfBounds();
    next[left] = after;
    next[right] = -1;
    if (after >= 0) prev[after] = left;
    const before = prev[left] ?? outOfBounds();
    if (before >= 0) consider(before);
    consider(left);
  }
  const result: number[] = [];
  for (let i = 0; i >= 0 && i < length; i = next[i] ?? outOfBounds()) result.push(ids[i] ?? outOfBounds());
  return result;
}

/** Binary min-heap of numbers. */
function push(heap: number[], key: number): void {
  let i = heap.length;
  heap.push(key);
  while (i > 0) {
    const parent = (i - 1) >> 1;
    const parentKey = heap[parent] ?? outOfBounds();
    if (parentKey <= key) break;
    heap[i] = parentKey;
    i = parent;
  }
  heap[i] = key;
}

function pop(heap: number[]): number {
  const top = heap[0] ?? outOfBounds();
  const last = heap.pop() ?? outOfBounds();
  const { length } = heap;
  if (length === 0) return top;
  let i = 0;
  for (;;) {
    let child = 2 * i + 1;
    if (child >= length) break;
    if (child + 1 < length && (heap[child + 1] ?? outOfBounds()) < (heap[child] ?? outOfBounds())) child++;
    const childKey = heap[child] ?? outOfBounds();
    if (childKey >= last) break;
    heap[i] = childKey;
    i = child;
  }
  heap[i] = last;
  return top;
}
