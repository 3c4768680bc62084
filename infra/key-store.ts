// Storage of API keys: the data folder of a self-hosted edge, or the KV namespace of one on Cloudflare.

import { execFile } from "node:child_process";
import { existsSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { type ApiKey, apiKeySchema, type Scope, storedKeyName } from "@vqd/shared/api-key.ts";
import { FOLDERS } from "./edge/workerd-config.ts";
import { adoptWranglerData } from "./edge/wrangler-data.ts";
import { privateFolder, writePrivateFile } from "./stack/files.ts";
import { NODE, REPO, WRANGLER } from "./stack/paths.ts";

export interface StoredKey {
  /** SHA-256 of the key, in hex. */
  readonly hash: string;
  readonly key: ApiKey;
}

/** What somebody has done to a key. */
export interface KeyAct {
  /** ISO 8601. */
  readonly at: string;
  readonly action: "key.created" | "key.revoked" | "key.quota_set";
  readonly key: string;
  readonly name: string;
  readonly scopes: readonly Scope[];
  /** The user of the machine on which the command ran. */
  readonly user: string;
}

export interface KeyStore {
  put(hash: string, key: ApiKey): Promise<void>;
  list(): Promise<StoredKey[]>;
  delete(hash: string): Promise<void>;
  /** Call before it is done. */
  note(act: KeyAct): Promise<void>;
  /** Oldest first. */
  acts(): Promise<KeyAct[]>;
}

const PREFIX = storedKeyName("");
const ACT_PREFIX = "audit:";
/** How long acts are kept. */
const ACTS_SECONDS = 400 * 24 * 60 * 60;
const ACTS_FILE = "keys-audit.ndjson";

/** One file per key, which the edge reads when the key is used. */
export class LocalKeys implements KeyStore {
  readonly #dir: string;
  readonly #actsFile: string;

  /** `edgeDir` is the folder `edge` of the data folder. */
  constructor(edgeDir: string) {
    this.#dir = privateFolder(join(privateFolder(edgeDir), FOLDERS.keys));
    this.#actsFile = join(edgeDir, ACTS_FILE);
    adoptWranglerData(edgeDir);
  }

  async put(hash: string, key: ApiKey): Promise<void> {
    writePrivateFile(join(this.#dir, storedKeyName(hash)), JSON.stringify(key));
  }

  async list(): Promise<StoredKey[]> {
    const names = readdirSync(this.#dir).filter((name) => name.startsWith(PREFIX) && !name.endsWith(".tmp"));
    return names.map((name) => ({
      hash: name.slice(PREFIX.length),
      key: apiKeySchema.parse(JSON.parse(readFileSync(join(this.#dir, name), "utf8"))),
    }));
  }

  async delete(hash: string): Promise<void> {
    rmSync(join(this.#dir, storedKeyName(hash)));
  }

  async note(act: KeyAct): Promise<void> {
    const lines = [...(await this.acts()), act].map((one) => `${JSON.stringify(one)}\n`);
    writePrivateFile(this.#actsFile, lines.join(""));
  }

  async acts(): Promise<KeyAct[]> {
    if (!existsSync(this.#actsFile)) return [];
    const lines = readFileSync(this.#actsFile, "utf8").split("\n").slice(0, -1);
    const since = new Date(Date.now() - ACTS_SECONDS * 1_000).toISOString();
    return lines.map((line) => JSON.parse(line) as KeyAct).filter(({ at }) => at >= since);
  }
}

/** Through wrangler, in the namespace of the environment that is deployed (docs/deploy.md). */
export class CloudflareKeys implements KeyStore {
  async put(hash: string, key: ApiKey): Promise<void> {
    const value = JSON.stringify(key);
    // With the value as metadata too, a single request lists all keys.
    await this.#wrangler("put", storedKeyName(hash), value, "--metadata", value);
  }

  async list(): Promise<StoredKey[]> {
    const entries = (await this.#entries(PREFIX)) as { name: string; metadata: ApiKey }[];
    return entries.map(({ name, metadata }) => ({ hash: name.slice(PREFIX.length), key: metadata }));
  }

  async delete(hash: string): Promise<void> {
    await this.#wrangler("delete", storedKeyName(hash));
  }

  async note(act: KeyAct): Promise<void> {
    const value = JSON.stringify(act);
    const name = `${ACT_PREFIX}${act.at}:${act.key}`;
    await this.#wrangler("put", name, value, "--metadata", value, "--ttl", String(ACTS_SECONDS));
  }

  async acts(): Promise<KeyAct[]> {
    const entries = (await this.#entries(ACT_PREFIX)) as { metadata: KeyAct }[];
    return entries.map(({ metadata }) => metadata);
  }

  async #entries(prefix: string): Promise<unknown> {
    const text = await this.#wrangler("list", "--prefix", prefix);
    return JSON.parse(text.slice(text.indexOf("["))) as unknown;
  }

  async #wrangler(command: string, ...args: string[]): Promise<string> {
    const place = ["--binding", "KEYS", "--remote", "--env", "production"];
    const env = {
      ...process.env,
      WRANGLER_SEND_METRICS: "false",
      WRANGLER_HIDE_BANNER: "true",
      NO_COLOR: "1",
    };
    const all = [WRANGLER, "kv", "key", command, ...args, ...place];
    const { stdout } = await promisify(execFile)(NODE, all, { cwd: REPO, env });
    return stdout;
  }
}
