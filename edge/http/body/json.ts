// Parses JSON without rounding the seeds in it: they have up to 64 bits, and numbers only 53.

/** An integer that a number may not hold. */
const MANY_DIGITS = /\d{16}/;
const INTEGER = /^\d+$/;

/** TypeScript's types do not have it yet. */
interface ReviverContext {
  /** Text of a primitive value. */
  readonly source?: string;
}

const textOf = (value: unknown): unknown => (typeof value === "bigint" ? value.toString() : value);

/**
 * The value of `text`. An integer that a number cannot hold is its digits, as text, as `seed` and in `seeds`; a bigint in other
 * arrays; and rounded anywhere else. Throws a SyntaxError.
 */
export function parseJson(text: string): unknown {
  if (!MANY_DIGITS.test(text)) return JSON.parse(text);
  return JSON.parse(text, function (this: unknown, key: string, value: unknown, context?: ReviverContext) {
    if (key === "seeds" && Array.isArray(value)) return value.map(textOf);
    if (typeof value !== "number" || Number.isSafeInteger(value)) return value;
    const source = context?.source ?? "";
    if (!INTEGER.test(source)) return value;
    if (key === "seed") return source;
    // The name of the array is not known here.
    return Array.isArray(this) ? BigInt(source) : value;
  });
}
