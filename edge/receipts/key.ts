// The key that signs receipts.

import { toBase64Url } from "@vqd/shared/receipts/receipt.ts";
import { decodeBase64, encodeHex } from "../util/bytes.ts";

/** An Ed25519 key in PKCS #8 is this and 32 bytes (RFC 8410). */
const PREFIX = "302e020100300506032b657004220420";
const LENGTH = 48;
const PEM = /^\s*-----BEGIN PRIVATE KEY-----\s+([\w+/=\s]+?)\s+-----END PRIVATE KEY-----\s*$/;

/** The key as PKCS #8; undefined if the text is not that of an Ed25519 key in PEM. */
export function pkcs8Of(pem: string): Uint8Array<ArrayBuffer> | undefined {
  const bytes = decodeBase64((PEM.exec(pem)?.[1] ?? "").replaceAll(/\s/g, ""));
  const isKey = bytes?.length === LENGTH && encodeHex(bytes).startsWith(PREFIX);
  return isKey ? bytes : undefined;
}

export interface ReceiptKey {
  readonly privateKey: CryptoKey;
  /** The public key, as in a JSON Web Key Set (RFC 7517, RFC 8037). */
  readonly publicJwk: PublicJwk;
}

interface PublicJwk {
  readonly kty: "OKP";
  readonly crv: "Ed25519";
  readonly x: string;
  /** The key's thumbprint (RFC 7638). */
  readonly kid: string;
  readonly alg: "EdDSA";
  readonly use: "sig";
}

const known = new WeakMap<Uint8Array, Promise<ReceiptKey>>();

export function receiptKeyOf(pkcs8: Uint8Array<ArrayBuffer>): Promise<ReceiptKey> {
  const key = known.get(pkcs8) ?? importKey(pkcs8);
  known.set(pkcs8, key);
  return key;
}

async function importKey(pkcs8: Uint8Array<ArrayBuffer>): Promise<ReceiptKey> {
  // Extractable, since its public half is part of what is exported.
  const privateKey = await crypto.subtle.importKey("pkcs8", pkcs8, "Ed25519", true, ["sign"]);
  const { x } = (await crypto.subtle.exportKey("jwk", privateKey)) as JsonWebKey;
  if (x === undefined) throw new Error("the key has no public half");
  const members = JSON.stringify({ crv: "Ed25519", kty: "OKP", x });
  const digest = await crypto.subtle.digest("SHA-256", new TextEncoder().encode(members));
  return {
    privateKey,
    publicJwk: {
      kty: "OKP",
      crv: "Ed25519",
      x,
      kid: toBase64Url(new Uint8Array(digest)),
      alg: "EdDSA",
      use: "sig",
    },
  };
}
