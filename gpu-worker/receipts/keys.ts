// Ed25519 keys in PEM files, as `openssl genpkey -algorithm ed25519` makes them.

import { createPrivateKey, createPublicKey, type KeyObject, type webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";

function read(path: string, make: (pem: Buffer) => KeyObject): KeyObject {
  let key: KeyObject;
  try {
    key = make(readFileSync(path));
  } catch (cause) {
    const reason =
      cause instanceof Error && "code" in cause && cause.code === "ENOENT"
        ? "no such file"
        : "not a key in PEM";
    throw new Error(`${path}: ${reason}`, { cause });
  }
  if (key.asymmetricKeyType !== "ed25519") throw new Error(`${path}: is no Ed25519 key`);
  return key;
}

/** Throws an Error that names the file. */
export const readPrivateKey = (path: string): webcrypto.CryptoKey =>
  read(path, createPrivateKey).toCryptoKey("Ed25519", false, ["sign"]);

/** The public key, or that of a private one. Throws an Error that names the file. */
export const readPublicKey = (path: string): webcrypto.CryptoKey =>
  read(path, createPublicKey).toCryptoKey("Ed25519", true, ["verify"]);
