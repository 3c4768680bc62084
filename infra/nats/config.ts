// The nats-server configuration of the stack: the accounts with their four users, loopback only.

import { randomBytes } from "node:crypto";
import { mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { MAX_PAYLOAD_BYTES } from "@vqd/shared/limits.ts";
import { writePrivateFile } from "../stack/files.ts";
import {
  EXPORTS,
  type Export,
  type Exporter,
  type Import,
  MONITOR_IMPORTS,
  workerImports,
} from "./accounts.ts";
import { EDGE, MONITOR, OPERATOR, type Permissions, workerPermissions } from "./permissions.ts";

const PASSWORD_BYTES = 24;

export type UserName = "edge" | "worker" | "monitor" | "operator";
export type Passwords = Record<UserName, string>;

export interface NatsPorts {
  /** Clients in Node. */
  readonly client: number;
  /** Clients in workerd. */
  readonly websocket: number;
  readonly monitor: number;
}

const passwordsSchema = z.strictObject({
  edge: z.string().min(1),
  worker: z.string().min(1),
  monitor: z.string().min(1),
  operator: z.string().min(1),
});
/** A user that is missing from an older data folder gets a password when the folder is next read. */
const storedSchema = passwordsSchema.partial({ monitor: true });

const newPassword = (): string => randomBytes(PASSWORD_BYTES).toString("base64url");

/** The passwords of this data folder, generated at random if it has none. */
export function loadPasswords(natsDir: string): Passwords {
  const path = join(natsDir, "passwords.json");
  mkdirSync(natsDir, { recursive: true, mode: 0o700 });
  const fresh: Passwords = {
    edge: newPassword(),
    worker: newPassword(),
    monitor: newPassword(),
    operator: newPassword(),
  };
  try {
    writeFileSync(path, `${JSON.stringify(fresh, undefined, 2)}\n`, { mode: 0o600, flag: "wx" });
    return fresh;
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "EEXIST")) throw error;
  }
  try {
    const stored = storedSchema.parse(JSON.parse(readFileSync(path, "utf8")));
    const passwords = { ...stored, monitor: stored.monitor ?? fresh.monitor };
    if (stored.monitor === undefined) writePrivateFile(path, `${JSON.stringify(passwords, undefined, 2)}\n`);
    return passwords;
  } catch (error) {
    throw new Error(`${path} is damaged; delete it and restart`, { cause: error });
  }
}

export interface NatsConfigOptions {
  readonly storeDir: string;
  readonly ports: NatsPorts;
  readonly passwords: Passwords;
  /** Of the models that workers may serve. */
  readonly modelKeys: readonly string[];
}

const ACCOUNTS: Readonly<Record<Exporter, string>> = { streams: "VQD", monitor: "MONITOR" };

const exportEntry = ({ type, subject }: Export) => ({ [type]: subject });
const importEntry = ({ type, subject, from, local }: Import) => ({
  [type]: { account: ACCOUNTS[from], subject },
  ...(local === undefined ? {} : { to: local }),
});

/** The configuration as text. JSON is valid nats-server configuration, and needs no quoting rules of its own. */
export function natsConfig({ storeDir, ports, passwords, modelKeys }: NatsConfigOptions): string {
  const user = (name: UserName, permissions: Permissions) => ({
    user: name,
    password: passwords[name],
    permissions,
  });
  const config = {
    server_name: "vqd",
    host: "127.0.0.1",
    port: ports.client,
    http: `127.0.0.1:${ports.monitor}`,
    max_payload: MAX_PAYLOAD_BYTES,
    jetstream: { store_dir: storeDir },
    // Unencrypted: workerd connects over loopback, and anything further away should bring its own TLS.
    websocket: { host: "127.0.0.1", port: ports.websocket, no_tls: true },
    // Explicit accounts, including the system's: CVE-2023-47090 affects servers on which only that one is named.
    accounts: {
      [ACCOUNTS.streams]: {
        jetstream: "enabled",
        users: [user("edge", EDGE), user("operator", OPERATOR)],
        exports: EXPORTS.streams.map(exportEntry),
      },
      WORKERS: {
        users: [user("worker", workerPermissions(modelKeys))],
        imports: workerImports(modelKeys).map(importEntry),
      },
      [ACCOUNTS.monitor]: {
        users: [user("monitor", MONITOR)],
        exports: EXPORTS.monitor.map(exportEntry),
        imports: MONITOR_IMPORTS.map(importEntry),
      },
      SYS: { users: [] },
    },
    system_account: "SYS",
  };
  return `${JSON.stringify(config, undefined, 2)}\n`;
}

/** Writes the configuration into `natsDir`, readable by this user only, and returns its path. */
export function writeNatsConfig(natsDir: string, options: Omit<NatsConfigOptions, "storeDir">): string {
  const path = join(natsDir, "nats-server.conf");
  mkdirSync(natsDir, { recursive: true, mode: 0o700 });
  writePrivateFile(path, natsConfig({ ...options, storeDir: join(natsDir, "store") }));
  return path;
}
