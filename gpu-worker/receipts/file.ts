// A receipt as a file: what is signed, and the states whose hashes it holds, so that any step can be made again.

import { readFileSync } from "node:fs";
import { decodeTokens, encodeTokens } from "@vqd/shared/codec.ts";
import { z } from "zod";
import { ReceiptError } from "./verify.ts";

const fileSchema = z.strictObject({ receipt: z.string(), states: z.array(z.base64()) });

export interface ReceiptFile {
  /** As `signReceipt` makes it. */
  readonly receipt: string;
  /** Class ids [L] of the first state, and of that after each step. */
  readonly states: readonly Uint16Array[];
}

export function receiptJson({ receipt, states }: ReceiptFile): string {
  const encoded = states.map((state) => Buffer.from(encodeTokens(state)).toString("base64"));
  return `${JSON.stringify({ receipt, states: encoded })}\n`;
}

/** Throws a ReceiptError that names the file if it is none. */
export function readReceipt(path: string): ReceiptFile {
  try {
    const { receipt, states } = fileSchema.parse(JSON.parse(readFileSync(path, "utf8")));
    return { receipt, states: states.map((state) => decodeTokens(Buffer.from(state, "base64"))) };
  } catch (cause) {
    const reason = cause instanceof Error && "code" in cause ? cause.message : "not a file of a receipt";
    throw new ReceiptError(`${path}: ${reason}`, { cause });
  }
}
