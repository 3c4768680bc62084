// A cluster's keys on disk: those that sign accounts and users, and the private CA. Whoever has this folder is the operator.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import {
  createAccount,
  createOperator,
  createUser,
  fromPublic,
  fromSeed,
  type KeyPair,
} from "@nats-io/nkeys";
import { z } from "zod";
import { writePrivateFile } from "../../stack/files.ts";
import { USERS, type Permissions } from "../permissions.ts";
import { type Certificate, createCa, createCertificate } from "./certificates.ts";
import { accountJwt, credentials, operatorJwt, userJwt } from "./jwt.ts";

/** Roles of the cluster's users. A leaf node forwards what workers at its site send, so it has the same permissions. */
export const ROLES = { ...USERS, leaf: USERS.worker } as const satisfies Record<string, Permissions>;
export type RoleName = keyof typeof ROLES;
export const ROLE_NAMES = Object.keys(ROLES) as RoleName[];

const KEYS_FILE = "keys.json";
const CA_CERTIFICATE = "ca.pem";
const CA_KEY = "ca-key.pem";

const seed = z.string().startsWith("S");
const keysSchema = z.strictObject({
  /** Unix time in s. */
  createdAt: z.int(),
  operator: seed,
  systemAccount: seed,
  account: seed,
  roles: z.record(z.enum(ROLE_NAMES as [RoleName, ...RoleName[]]), seed),
  /** Users' public keys, and the time (Unix time in s) up to which credentials issued to them are rejected. */
  revocations: z.record(z.string(), z.int()),
});
type Keys = z.infer<typeof keysSchema>;

const text = (pair: KeyPair): string => Buffer.from(pair.getSeed()).toString();
const nowSeconds = (): number => Math.floor(Date.now() / 1_000);
const pairOf = (stored: string): KeyPair => fromSeed(Buffer.from(stored));

/** What each server's configuration must hold. */
export interface Trust {
  readonly operatorJwt: string;
  /** Public keys. */
  readonly systemAccount: string;
  readonly account: string;
  /** Account JWTs by public key. */
  readonly accounts: Readonly<Record<string, string>>;
}

export class Authority {
  readonly #dir: string;
  readonly #keys: Keys;
  readonly #ca: Certificate;

  private constructor(dir: string, keys: Keys, ca: Certificate) {
    this.#dir = dir;
    this.#keys = keys;
    this.#ca = ca;
  }

  /** The authority stored in `dir`, or a new one created there. */
  static async open(dir: string): Promise<Authority> {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const path = join(dir, KEYS_FILE);
    const file = (name: string): string => join(dir, name);
    if (!existsSync(path)) {
      const roles = Object.fromEntries(
        ROLE_NAMES.map((role) => [role, text(createAccount())]),
      ) as Keys["roles"];
      const keys: Keys = {
        createdAt: nowSeconds(),
        operator: text(createOperator()),
        systemAccount: text(createAccount()),
        account: text(createAccount()),
        roles,
        revocations: {},
      };
      const ca = await createCa("vqd NATS");
      writePrivateFile(file(CA_KEY), ca.key);
      writePrivateFile(file(CA_CERTIFICATE), ca.certificate);
      writePrivateFile(path, `${JSON.stringify(keys, undefined, 2)}\n`);
    }
    const parsed = keysSchema.safeParse(JSON.parse(readFileSync(path, "utf8")));
    if (!parsed.success) throw new Error(`${path} is damaged: ${z.prettifyError(parsed.error)}`);
    const ca = {
      certificate: readFileSync(file(CA_CERTIFICATE), "utf8"),
      key: readFileSync(file(CA_KEY), "utf8"),
    };
    return new Authority(dir, parsed.data, ca);
  }

  /** PEM, for clients to trust. */
  get caCertificate(): string {
    return this.#ca.certificate;
  }

  trust(): Trust {
    const { createdAt, operator, systemAccount, account, roles, revocations } = this.#keys;
    const signer = pairOf(operator);
    const [system, vqd] = [pairOf(systemAccount).getPublicKey(), pairOf(account).getPublicKey()];
    return {
      operatorJwt: operatorJwt(signer, { name: "vqd", systemAccount: system, issuedAt: createdAt }),
      systemAccount: system,
      account: vqd,
      accounts: {
        [system]: accountJwt(signer, {
          name: "SYS",
          account: system,
          jetStream: false,
          roles: [],
          revocations: {},
          issuedAt: createdAt,
        }),
        [vqd]: accountJwt(signer, {
          name: "VQD",
          account: vqd,
          jetStream: true,
          roles: ROLE_NAMES.map((name) => ({
            name,
            signingKey: pairOf(roles[name]).getPublicKey(),
            permissions: ROLES[name],
          })),
          revocations,
        }),
      },
    };
  }

  /** Credentials for a new user of a role. `expires` is a Unix time in s; without it they never expire. */
  issue(role: RoleName, name: string = role, expires?: number): { credentials: string; publicKey: string } {
    const user = createUser();
    const publicKey = user.getPublicKey();
    const account = pairOf(this.#keys.account).getPublicKey();
    const jwt = userJwt(pairOf(this.#keys.roles[role]), { name, user: publicKey, account, expires });
    return { credentials: credentials(jwt, text(user)), publicKey };
  }

  /** Revokes a user's credentials as of now; takes effect once the servers have the new configuration. */
  revoke(publicKey: string): void {
    try {
      fromPublic(publicKey);
    } catch (cause) {
      throw new Error(`${JSON.stringify(publicKey)} is not a user's public key (U...)`, { cause });
    }
    this.#keys.revocations[publicKey] = nowSeconds();
    writePrivateFile(join(this.#dir, KEYS_FILE), `${JSON.stringify(this.#keys, undefined, 2)}\n`);
  }

  certificate(hosts: readonly string[], days?: number): Promise<Certificate> {
    return createCertificate(this.#ca, hosts, days);
  }
}
