// Reads numbers and strings from the bytes of a pickle, never beyond their end.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "../errors.ts";

/** Strings are names of tensors and classes. */
const MAX_TEXT_BYTES = 64 * 1024;
const MAX_INTEGER_BYTES = 8;

export class PickleReader {
  readonly #path: string;
  readonly #bytes: Buffer;
  #at = 0;

  constructor(path: string, bytes: Buffer) {
    this.#path = path;
    this.#bytes = bytes;
  }

  byte(): number {
    return this.#bytes[this.skip(1)] ?? outOfBounds();
  }

  uint16(): number {
    return this.#bytes.readUInt16LE(this.skip(2));
  }

  int32(): number {
    return this.#bytes.readInt32LE(this.skip(4));
  }

  uint32(): number {
    return this.#bytes.readUInt32LE(this.skip(4));
  }

  double(): number {
    return this.#bytes.readDoubleBE(this.skip(8));
  }

  /** Consumes `length` bytes and returns their position. */
  skip(length: number): number {
    const at = this.#at;
    if (at + length > this.#bytes.length) throw this.fail("it is truncated");
    this.#at += length;
    return at;
  }

  /** Two's complement, little-endian. */
  integer(length: number): number {
    if (length > MAX_INTEGER_BYTES) throw this.fail(`an integer has ${length} bytes`);
    if (length === 0) return 0;
    const at = this.skip(length);
    const value = BigInt.asIntN(
      8 * length,
      this.#bytes.subarray(at, at + length).reduceRight((sum, byte) => (sum << 8n) | BigInt(byte), 0n),
    );
    if (!Number.isSafeInteger(Number(value))) throw this.fail(`the integer ${value} is too large`);
    return Number(value);
  }

  /** UTF-8. */
  text(length: number): string {
    if (length > MAX_TEXT_BYTES) throw this.fail(`a string has ${length} bytes`);
    const at = this.skip(length);
    return this.#bytes.toString("utf8", at, at + length);
  }

  /** Text up to the next line feed. */
  line(): string {
    const end = this.#bytes.indexOf(0x0a, this.#at);
    if (end === -1) throw this.fail("it is truncated");
    const text = this.text(end - this.#at);
    this.#at = end + 1;
    return text;
  }

  fail(reason: string): CheckpointError {
    return new CheckpointError(this.#path, `data.pkl: ${reason}`);
  }
}
