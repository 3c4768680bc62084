// Storage of API keys: the data folder of a self-hosted edge, or the KV namespace of one on Cloudflare.

import { execFile } from "node:child_process";
import { readdirSync, readFileSync, rmSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import { type ApiKey, apiKeySchema, storedKeyName } from "@vqd/shared/api-key.ts";
import { FOLDERS } from "./edge/workerd-config.ts";
import { adoptWranglerData } from "./edge/wrangler-data.ts";
import { privateFolder, writePrivateFile } from "./stack/files.ts";
import { NODE, REPO, WRANGLER } from "./stack/paths.ts";

export interface StoredKey {
  /** SHA-256 of the key, in hex. */
  readonly hash: string;
  readonly key: ApiKey;
}

interface KeyStore {
  put(hash: string, key: ApiKey): Promise<void>;
  list(): Promise<StoredKey[]>;
  delete(hash: string): Promise<void>;
}

const PREFIX = storedKeyName("");

/** One file per key, which the edge reads when the key is used. */
export class LocalKeys implements KeyStore {
  readonly #dir: string;

  /** `edgeDir` is the folder `edge` of the data folder. */
  constructor(edgeDir: string) {
    this.#dir = privateFolder(join(privateFolder(edgeDir), FOLDERS.keys));
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
}

/** Through wrangler, in the namespace of the environment that is deployed (docs/deploy.md). */
export class CloudflareKeys implements KeyStore {
  async put(hash: string, key: ApiKey): Promise<void> {
    const value = JSON.stringify(key);
    // With the value as metadata too, a single request lists all keys.
    await this.#wrangler("put", storedKeyName(hash), value, "--metadata", value);
  }

  async list(): Promise<StoredKey[]> {
    const text = await this.#wrangler("list", "--prefix", PREFIX);
    const entries = JSON.parse(text.slice(text.indexOf("["))) as { name: string; metadata: ApiKey }[];
    return entries.map(({ name, metadata }) => ({ hash: name.slice(PREFIX.length), key: metadata }));
  }

  async delete(hash: string): Promise<void> {
    await this.#wrangler("delete", storedKeyName(hash));
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
