// Ed25519 keys in files: PEM, as `openssl genpkey -algorithm ed25519` makes them, or a service's JSON Web Key Set.

import { createPrivateKey, createPublicKey, type KeyObject, type webcrypto } from "node:crypto";
import { readFileSync } from "node:fs";
import { z } from "zod";

function read(path: string, make: (text: string) => KeyObject, forms = "PEM"): KeyObject {
  let key: KeyObject;
  try {
    key = make(readFileSync(path, "utf8"));
  } catch (cause) {
    const reason =
      cause instanceof Error && "code" in cause && cause.code === "ENOENT"
        ? "no such file"
        : `not a key in ${forms}`;
    throw new Error(`${path}: ${reason}`, { cause });
  }
  if (key.asymmetricKeyType !== "ed25519") throw new Error(`${path}: is no Ed25519 key`);
  return key;
}

/** Throws an Error that names the file. */
export const readPrivateKey = (path: string): webcrypto.CryptoKey =>
  read(path, createPrivateKey).toCryptoKey("Ed25519", false, ["sign"]);

const keySetSchema = z.object({ keys: z.tuple([z.record(z.string(), z.string())]) });

/** Of a set with one key, as services have it at /.well-known/vqd-receipts.json, or of PEM. */
function publicKeyOf(text: string): KeyObject {
  if (!text.trimStart().startsWith("{")) return createPublicKey(text);
  const { keys } = keySetSchema.parse(JSON.parse(text));
  return createPublicKey({ key: keys[0], format: "jwk" });
}

/** The public key, or that of a private one. Throws an Error that names the file. */
export const readPublicKey = (path: string): webcrypto.CryptoKey =>
  read(path, publicKeyOf, "PEM, nor a set of one in JSON").toCryptoKey("Ed25519", true, ["verify"]);
