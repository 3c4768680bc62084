// Receipts: what an image was made with and a hash of its tokens after every step, signed, so that its origin can be checked.

import { z } from "zod";
import { encodeTokens } from "../codec.ts";
import { VqdError } from "../errors.ts";
import { MAX_TEXT_LENGTH, MAX_TIMESTEPS } from "../limits.ts";
import { versionSchema } from "../model.ts";
import { outOfBounds } from "../out-of-bounds.ts";
import { ORDERS, PRIOR_RULES, SCHEDULERS } from "../sampling/choices.ts";
import { inferSpeedSchema } from "../sampling/original.ts";
import { seedSchema } from "../sampling/seed.ts";
import { heldSchema } from "./held.ts";

const hash = z.string().regex(/^[0-9a-f]{64}$/);
const tokenIds = z.array(z.int().min(0).max(0xffff)).min(1).max(MAX_TEXT_LENGTH);

/** What is signed. */
export const receiptSchema = z.strictObject({
  v: z.literal(1),
  /** The model's version, and the id of all that decides the bits of a result. */
  version: versionSchema,
  numericsId: z.string().max(100),
  /** Token ids; null for the model's unconditional embedding. */
  prompt: tokenIds,
  negativePrompt: tokenIds.nullable(),
  numInferenceSteps: z.int().min(1).max(MAX_TIMESTEPS),
  guidanceScale: z.number(),
  truncationRate: z.number(),
  temperature: z.number(),
  scheduler: z.enum(SCHEDULERS),
  /** Of the scheduler "original". [1] */
  inferSpeed: inferSpeedSchema.optional(),
  order: z.enum(ORDERS),
  remasking: z.number(),
  priorRule: z.literal(PRIOR_RULES),
  priorWeight: z.number(),
  seed: seedSchema,
  /** Index of the image among those with its seed. */
  place: z.int().min(0),
  held: heldSchema,
  /** Steps that a source has spared the run: the first state is the one after them. */
  firstStep: z.int().min(0).max(MAX_TIMESTEPS),
  /** See `chainOf`: of the first state, and of that after each step. */
  chain: z
    .array(hash)
    .min(1)
    .max(MAX_TIMESTEPS + 1),
});
export type Receipt = z.infer<typeof receiptSchema>;

const encoder = new TextEncoder();
const hexOf = (bytes: Uint8Array): string =>
  Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");

/**
 * h_0 = SHA-256(x_0), h_k = SHA-256(h_{k-1}, x_k) of the states x_0, x_1, ..., each as uint16 LE; hexadecimal. So the last one
 * stands for all states.
 */
export async function chainOf(states: readonly Uint16Array[]): Promise<string[]> {
  let last = new Uint8Array(0);
  const chain: string[] = [];
  for (const state of states) {
    const tokens = encodeTokens(state);
    const linked = new Uint8Array(last.length + tokens.length);
    linked.set(last);
    linked.set(tokens, last.length);
    last = new Uint8Array(await crypto.subtle.digest("SHA-256", linked));
    chain.push(hexOf(last));
  }
  return chain;
}

const HEADER = { alg: "EdDSA", typ: "vqd-receipt+jwt" };

export const toBase64Url = (bytes: Uint8Array): string =>
  btoa(Array.from(bytes, (byte) => String.fromCharCode(byte)).join(""))
    .replaceAll("+", "-")
    .replaceAll("/", "_")
    .replaceAll("=", "");
const fromBase64Url = (text: string): Uint8Array<ArrayBuffer> =>
  Uint8Array.from(atob(text.replaceAll("-", "+").replaceAll("_", "/")), (char) => char.charCodeAt(0));

/**
 * The receipt as a JSON Web Signature (RFC 7515, compact; Ed25519 as in RFC 8037), which any library of JWTs can check. `kid` is
 * the id of the key, if it has one.
 */
export async function signReceipt(receipt: Receipt, privateKey: CryptoKey, kid?: string): Promise<string> {
  const header = kid === undefined ? HEADER : { ...HEADER, kid };
  const signed = [header, receipt].map((part) => toBase64Url(encoder.encode(JSON.stringify(part)))).join(".");
  const signature = await crypto.subtle.sign("Ed25519", privateKey, encoder.encode(signed));
  return `${signed}.${toBase64Url(new Uint8Array(signature))}`;
}

/** What is signed. Throws a VqdError (invalid_input) if that is no receipt, or not signed with the key's private one. */
export async function openReceipt(jws: string, publicKey: CryptoKey): Promise<Receipt> {
  const refuse = (reason: string): never => {
    throw new VqdError("invalid_input", `the receipt ${reason}`);
  };
  const parts = jws.split(".");
  if (parts.length !== 3) return refuse("is not a signed one");
  const [header = "", payload = "", signature = ""] = parts;
  let isSigned = false;
  let content: unknown;
  try {
    const bytes = fromBase64Url(signature);
    const signed = encoder.encode(`${header}.${payload}`);
    // Base64 has bits to spare at its end, which a decoder ignores.
    isSigned =
      toBase64Url(bytes) === signature && (await crypto.subtle.verify("Ed25519", publicKey, bytes, signed));
    content = JSON.parse(new TextDecoder().decode(fromBase64Url(payload)));
  } catch {
    return refuse("is not a signed one");
  }
  if (!isSigned) return refuse("was changed, or signed with another key");
  const parsed = receiptSchema.safeParse(content);
  return parsed.success
    ? parsed.data
    : refuse(`is not understood: ${z.prettifyError(parsed.error).slice(0, 300)}`);
}

/** The step whose state is the first that does not fit the chain, as an index; undefined if all fit. */
export async function firstMisfit(
  { chain }: Receipt,
  states: readonly Uint16Array[],
): Promise<number | undefined> {
  const found = await chainOf(states);
  if (found.length !== chain.length) return Math.min(found.length, chain.length);
  const misfit = found.findIndex((link, i) => link !== (chain[i] ?? outOfBounds()));
  return misfit < 0 ? undefined : misfit;
}
