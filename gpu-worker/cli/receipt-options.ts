// The options of `vqd generate` that ask for receipts.

import { resolve } from "node:path";
import { readPrivateKey } from "../receipts/keys.ts";
import { ReceiptRecorder } from "../receipts/recorder.ts";
import { UsageError } from "./command.ts";

export const RECEIPT_HELP = `\
  --receipt FILE           write a receipt, which \`vqd verify\` checks; of several images -0, -1, ...
  --sign-key FILE          Ed25519 key in PEM that signs it (openssl genpkey -algorithm ed25519)
`;

export const RECEIPT_OPTIONS = ["receipt", "sign-key"] as const;

/** Records what receipts say, and where they go; undefined if none is wanted. Throws a UsageError, or an Error that names the key. */
export function readReceipts({
  receipt,
  "sign-key": keyFile,
}: Readonly<Record<string, string | undefined>>): (ReceiptRecorder & { readonly path: string }) | undefined {
  if (receipt === undefined && keyFile === undefined) return undefined;
  if (receipt === undefined) throw new UsageError("--sign-key needs --receipt");
  if (keyFile === undefined) throw new UsageError("--receipt needs --sign-key");
  return Object.assign(new ReceiptRecorder(readPrivateKey(keyFile)), { path: resolve(receipt) });
}
