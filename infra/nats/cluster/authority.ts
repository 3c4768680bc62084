// Who is trusted in a cluster: signs accounts and users, and certificates by a private CA. Whoever has its folder is the operator.

import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { createUser, fromPublic } from "@nats-io/nkeys";
import { writePrivateFile } from "../../stack/files.ts";
import { EXPORTS, type Import, MONITOR_IMPORTS, MONITORED, workerImports } from "../accounts.ts";
import {
  EDGE,
  leafPermissions,
  MONITOR,
  OPERATOR,
  UNSCOPED_WORKER,
  workerPermissions,
} from "../permissions.ts";
import { type Certificate, createCa, createCertificate } from "./certificates.ts";
import { type AccountImport, accountJwt, credentials, operatorJwt, type Role, userJwt } from "./jwt.ts";
import {
  type Keys,
  type ModelsAccount,
  newSeed,
  nowSeconds,
  openKeys,
  pairOf,
  publicKeyOf,
  saveKeys,
} from "./keys.ts";

export const ROLE_NAMES = ["edge", "worker", "monitor", "operator", "leaf"] as const;
export type RoleName = (typeof ROLE_NAMES)[number];
/** Roles whose users name the models that they serve. */
const MODEL_ROLES = ["worker", "leaf"] as const satisfies RoleName[];
type ModelRole = (typeof MODEL_ROLES)[number];
export const isModelRole = (role: RoleName): role is ModelRole => MODEL_ROLES.some((one) => one === role);

const KEYS_FILE = "keys.json";
const CA_CERTIFICATE = "ca.pem";
const CA_KEY = "ca-key.pem";

/** What each server's configuration must hold. */
export interface Trust {
  readonly operatorJwt: string;
  /** Public keys. */
  readonly systemAccount: string;
  /** The account of the streams. */
  readonly account: string;
  /** Account JWTs by public key. */
  readonly accounts: Readonly<Record<string, string>>;
}

/** Whose user it is, and for how long. */
export interface UserOptions {
  /** Keys of the models that a worker or leaf node may serve; none for other roles. */
  readonly models?: readonly string[] | undefined;
  /** By default that of the role. */
  readonly name?: string | undefined;
  /** Unix time in s; without it, valid forever. */
  readonly expires?: number | undefined;
}

export class Authority {
  readonly #path: string;
  #keys: Keys;
  readonly #ca: Certificate;

  private constructor(path: string, keys: Keys, ca: Certificate) {
    this.#path = path;
    this.#keys = keys;
    this.#ca = ca;
  }

  /** The authority in `dir`, created if there is none. */
  static async open(dir: string): Promise<Authority> {
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    const file = (name: string): string => join(dir, name);
    if (!existsSync(file(KEYS_FILE))) {
      const ca = await createCa("vqd NATS");
      writePrivateFile(file(CA_KEY), ca.key);
      writePrivateFile(file(CA_CERTIFICATE), ca.certificate);
    }
    const keys = openKeys(file(KEYS_FILE));
    const ca = {
      certificate: readFileSync(file(CA_CERTIFICATE), "utf8"),
      key: readFileSync(file(CA_KEY), "utf8"),
    };
    return new Authority(file(KEYS_FILE), keys, ca);
  }

  /** PEM, for clients to trust. */
  get caCertificate(): string {
    return this.#ca.certificate;
  }

  /** Whether credentials of 0.1.0, which name no model, are still accepted. */
  get acceptsUnscoped(): boolean {
    const { worker, leaf } = this.#keys.roles;
    return worker !== undefined || leaf !== undefined;
  }

  /** Public key of the account that users of a role belong to; undefined for a set of models that has none yet. */
  accountOf(role: RoleName, models: readonly string[] = []): string | undefined {
    const { account, monitor } = this.#keys;
    if (role === "monitor") return publicKeyOf(monitor.account);
    if (!isModelRole(role)) return publicKeyOf(account);
    const found = this.#accountOfModels(models);
    return found && publicKeyOf(found.account);
  }

  /**
   * `leaf` gives what a leaf node must hold: there the accounts import nothing, since what they import is with the servers
   * that it connects to.
   */
  trust({ leaf = false } = {}): Trust {
    const { createdAt, operator, systemAccount, account, monitor, models } = this.#keys;
    const signer = pairOf(operator);
    const [system, streams, monitors] = [systemAccount, account, monitor.account].map(publicKeyOf) as [
      string,
      string,
      string,
    ];
    const exporters = { streams, monitor: monitors };
    const importsOf = (imports: readonly Import[]): AccountImport[] =>
      leaf
        ? []
        : imports.map(({ type, subject, local, from }) => ({
            type,
            subject,
            local,
            account: exporters[from],
          }));
    const jwtOf = (
      key: string,
      name: string,
      options: { roles?: readonly Role[]; jetStream?: boolean; imports?: readonly Import[] },
    ): string =>
      accountJwt(signer, {
        name,
        account: key,
        jetStream: options.jetStream ?? false,
        roles: options.roles ?? [],
        exports: key === streams ? EXPORTS.streams : key === monitors ? EXPORTS.monitor : [],
        imports: importsOf(options.imports ?? []),
        revocations: this.#keys.revocations,
      });
    return {
      operatorJwt: operatorJwt(signer, { name: "vqd", systemAccount: system, issuedAt: createdAt }),
      systemAccount: system,
      account: streams,
      accounts: {
        [system]: accountJwt(signer, {
          name: "SYS",
          account: system,
          jetStream: false,
          roles: [],
          revocations: {},
          issuedAt: createdAt,
        }),
        [streams]: jwtOf(streams, "VQD", {
          jetStream: true,
          roles: this.#streamsRoles(),
          // Workers of 0.1.0 are asked for their status as well.
          imports: this.acceptsUnscoped ? MONITORED : [],
        }),
        [monitors]: jwtOf(monitors, "MONITOR", {
          roles: [{ name: "monitor", signingKey: publicKeyOf(monitor.role), permissions: MONITOR }],
          imports: MONITOR_IMPORTS,
        }),
        ...Object.fromEntries(
          models.map((set) => [
            publicKeyOf(set.account),
            jwtOf(publicKeyOf(set.account), set.keys.join("+"), {
              roles: [
                {
                  name: "worker",
                  signingKey: publicKeyOf(set.worker),
                  permissions: workerPermissions(set.keys),
                },
                { name: "leaf", signingKey: publicKeyOf(set.leaf), permissions: leafPermissions(set.keys) },
              ],
              imports: workerImports(set.keys),
            }),
          ]),
        ),
      },
    };
  }

  #streamsRoles(): Role[] {
    const { edge, operator, worker, leaf } = this.#keys.roles;
    const role = (name: string, signingKey: string, permissions: Role["permissions"]): Role => ({
      name,
      signingKey: publicKeyOf(signingKey),
      permissions,
    });
    return [
      role("edge", edge, EDGE),
      role("operator", operator, OPERATOR),
      ...(worker === undefined ? [] : [role("worker", worker, UNSCOPED_WORKER)]),
      ...(leaf === undefined ? [] : [role("leaf", leaf, UNSCOPED_WORKER)]),
    ];
  }

  /**
   * Credentials for a new user of a role, as a credentials file's text. A set of models that has no user yet gets an account,
   * which the servers must learn of: `isNewAccount`.
   */
  issue(
    role: RoleName,
    { models = [], name = role, expires }: UserOptions = {},
  ): { credentials: string; publicKey: string; isNewAccount: boolean } {
    const isNewAccount = isModelRole(role) && this.#accountOfModels(models) === undefined;
    const { account, signer } = this.#signerOf(role, models);
    const user = createUser();
    const publicKey = user.getPublicKey();
    const jwt = userJwt(pairOf(signer), { name, user: publicKey, account: publicKeyOf(account), expires });
    const seed = Buffer.from(user.getSeed()).toString();
    return { credentials: credentials(jwt, seed), publicKey, isNewAccount };
  }

  #signerOf(role: RoleName, models: readonly string[]): { account: string; signer: string } {
    const { account, roles, monitor } = this.#keys;
    if (role === "monitor") return { account: monitor.account, signer: monitor.role };
    if (!isModelRole(role)) return { account, signer: roles[role] };
    if (models.length === 0)
      throw new Error(`credentials of a ${role} must name the models that it may serve`);
    const set = this.#accountOfModels(models) ?? this.#addAccount(models);
    return { account: set.account, signer: set[role] };
  }

  #accountOfModels(models: readonly string[]): ModelsAccount | undefined {
    const wanted = models.toSorted().join(" ");
    return this.#keys.models.find(({ keys }) => keys.join(" ") === wanted);
  }

  #addAccount(models: readonly string[]): ModelsAccount {
    const set = { keys: models.toSorted(), account: newSeed(), worker: newSeed(), leaf: newSeed() };
    this.#save({ ...this.#keys, models: [...this.#keys.models, set] });
    return set;
  }

  /** From now on refuses everything issued to a user; takes effect when the servers have the new configuration. */
  revoke(publicKey: string): void {
    try {
      fromPublic(publicKey);
    } catch (cause) {
      throw new Error(`${JSON.stringify(publicKey)} is not a user's public key (U...)`, { cause });
    }
    this.#save({ ...this.#keys, revocations: { ...this.#keys.revocations, [publicKey]: nowSeconds() } });
  }

  /** From now on refuses the credentials of 0.1.0, which allow a worker any model; takes effect as `revoke` does. */
  retireUnscoped(): void {
    const { edge, operator } = this.#keys.roles;
    this.#save({ ...this.#keys, roles: { edge, operator } });
  }

  #save(keys: Keys): void {
    this.#keys = keys;
    saveKeys(this.#path, keys);
  }

  certificate(hosts: readonly string[], days?: number): Promise<Certificate> {
    return createCertificate(this.#ca, hosts, days);
  }
}
