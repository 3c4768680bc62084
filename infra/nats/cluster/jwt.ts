// The JWTs of NATS' decentralized authentication (NATS ADR-14): an operator signs accounts, and an account's signing keys
// sign users. Permissions are stored in the account, by role, so that they change for all users at once.

import { createHash } from "node:crypto";
import type { KeyPair } from "@nats-io/nkeys";
import type { Export, Import } from "../accounts.ts";
import type { Permissions } from "../permissions.ts";

/** Version of the claims: what nats-server calls JWT v2. */
const CLAIMS_VERSION = 2;
const UNLIMITED = -1;
const NS_PER_MINUTE = 60e9;

interface Claims {
  readonly name: string;
  readonly subject: string;
  /** Unix times in s; by default issued now, and valid forever. */
  readonly issuedAt?: number | undefined;
  readonly expires?: number | undefined;
  readonly nats: Readonly<Record<string, unknown>>;
}

const base64url = (value: string | Uint8Array): string => Buffer.from(value).toString("base64url");

const BASE32 = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";

function base32(bytes: Uint8Array): string {
  let [text, bits, value] = ["", 0, 0];
  for (const byte of bytes) {
    value = (value << 8) | byte;
    bits += 8;
    for (; bits >= 5; bits -= 5) text += BASE32.charAt((value >> (bits - 5)) & 31);
    value &= 255;
  }
  return bits === 0 ? text : text + BASE32.charAt((value << (5 - bits)) & 31);
}

function sign(issuer: KeyPair, { name, subject, issuedAt, expires, nats }: Claims): string {
  const claims = {
    iat: issuedAt ?? Math.floor(Date.now() / 1_000),
    iss: issuer.getPublicKey(),
    sub: subject,
    name,
    ...(expires === undefined ? {} : { exp: expires }),
    nats: { ...nats, version: CLAIMS_VERSION },
  };
  const jti = base32(createHash("sha256").update(JSON.stringify(claims)).digest());
  const body = `${base64url('{"typ":"JWT","alg":"ed25519-nkey"}')}.${base64url(JSON.stringify({ ...claims, jti }))}`;
  return `${body}.${base64url(issuer.sign(Buffer.from(body)))}`;
}

/** `issuedAt` (Unix time in s) must stay the same: a server accepts a different operator only on restart. */
export function operatorJwt(
  operator: KeyPair,
  { name, systemAccount, issuedAt }: { name: string; systemAccount: string; issuedAt: number },
): string {
  const nats = { type: "operator", system_account: systemAccount };
  return sign(operator, { name, subject: operator.getPublicKey(), issuedAt, nats });
}

/** A kind of user: the key that signs their JWTs, and what they may do. */
export interface Role {
  readonly name: string;
  /** Public key. */
  readonly signingKey: string;
  readonly permissions: Permissions;
}

/** Something of another account, given by its public key. */
export interface AccountImport extends Omit<Import, "from"> {
  readonly account: string;
}

export interface AccountOptions {
  readonly name: string;
  /** Public key. */
  readonly account: string;
  readonly jetStream: boolean;
  readonly roles: readonly Role[];
  readonly exports?: readonly Export[];
  readonly imports?: readonly AccountImport[];
  /** Users' public keys, and the Unix time in s up to which JWTs issued to them are rejected. */
  readonly revocations: Readonly<Record<string, number>>;
  /** Unix time in s; now by default. */
  readonly issuedAt?: number;
}

export function accountJwt(operator: KeyPair, options: AccountOptions): string {
  const { name, account, jetStream, roles, exports = [], imports = [], revocations, issuedAt } = options;
  const everything = { subs: UNLIMITED, data: UNLIMITED, payload: UNLIMITED };
  const storage = jetStream
    ? { mem_storage: UNLIMITED, disk_storage: UNLIMITED, streams: UNLIMITED, consumer: UNLIMITED }
    : {};
  const nats = {
    type: "account",
    limits: {
      ...everything,
      imports: UNLIMITED,
      exports: UNLIMITED,
      wildcards: true,
      conn: UNLIMITED,
      leaf: UNLIMITED,
      ...storage,
    },
    signing_keys: roles.map(({ name: role, signingKey, permissions }) => ({
      kind: "user_scope",
      key: signingKey,
      role,
      template: { ...permissionsClaim(permissions), ...everything },
    })),
    exports: exports.map(({ type, subject }) => ({ name: subject, type, subject })),
    imports: imports.map(({ type, subject, account: from, local }) => ({
      name: subject,
      type,
      subject,
      account: from,
      local_subject: local,
    })),
    ...(Object.keys(revocations).length === 0 ? {} : { revocations }),
  };
  return sign(operator, { name, subject: account, issuedAt, nats });
}

function permissionsClaim({ publish, subscribe, allow_responses: responses }: Permissions): object {
  return {
    pub: publish,
    sub: subscribe,
    ...(responses === undefined ? {} : { resp: { max: responses.max, ttl: NS_PER_MINUTE } }),
  };
}

export interface UserClaims {
  readonly name: string;
  /** Public key. */
  readonly user: string;
  /** Public key of the account. */
  readonly account: string;
  readonly expires?: number | undefined;
}

/** A user of the role whose signing key signs it; it must have no permissions of its own. */
export function userJwt(signingKey: KeyPair, { name, user, account, expires }: UserClaims): string {
  return sign(signingKey, {
    name,
    subject: user,
    expires,
    nats: { type: "user", issuer_account: account, pub: {}, sub: {} },
  });
}

/** A client's credentials file: the JWT, and the seed that proves it belongs to the client. */
export function credentials(jwt: string, seed: string): string {
  const block = (kind: string, text: string): string =>
    `-----BEGIN ${kind}-----\n${text}\n------END ${kind}------\n`;
  return `${block("NATS USER JWT", jwt)}\n${block("USER NKEY SEED", seed)}`;
}
