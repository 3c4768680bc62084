// Files that callers upload: admitted, stored, listed, deleted, and expired.

import { VqdError } from "@vqd/shared/errors.ts";
import { newCapability, newPredictionId } from "@vqd/shared/ids.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Config } from "../config.ts";
import { type FilePage, type FileRecord, type NewFile, uploadName } from "../prediction/file-records.ts";
import { IMAGE_TYPES } from "../prediction/image-type.ts";
import type { ListQuery } from "../prediction/records.ts";
import { OwnerRate } from "./admission/owner-rate.ts";
import { admitFile } from "./admission/storage-limits.ts";
import { fileKey, putFile } from "./storage/files.ts";
import { toPage } from "./storage/page.ts";
import type { PredictionStore } from "./storage/store.ts";

export interface UploadsOptions {
  readonly shard: number;
  readonly config: Config;
  readonly store: PredictionStore;
  readonly bucket: R2Bucket;
  readonly log: Logger;
  /** Called when the time of the next expiry may have changed. */
  readonly onStored: () => void;
}

const keyOf = ({ capability, type }: FileRecord): string => fileKey(capability, uploadName(type));

/** All methods but `expire` throw a VqdError. */
export class Uploads {
  readonly #options: UploadsOptions;
  readonly #rate: OwnerRate;

  constructor(options: UploadsOptions) {
    this.#options = options;
    this.#rate = new OwnerRate(options.config.readsPerMinute, "uploads");
  }

  /** Stores a file. Errors: storage_full, rate_limited, internal if object storage does not accept it. */
  async create(file: NewFile, bytes: Uint8Array): Promise<FileRecord> {
    const { shard, config, store, bucket, log, onStored } = this.#options;
    this.#rate.admit(file.keyName);
    admitFile(store, file.keyName, bytes.length, config);
    this.#rate.count(file.keyName, bytes.length);
    const createdAt = Date.now();
    const expiresAt = createdAt + config.fileRetentionMs;
    const [id, capability] = [newPredictionId(shard), newCapability()];
    const record = { ...file, id, capability, size: bytes.length, createdAt, expiresAt };
    // The row first: what has none would never be deleted.
    store.uploads.insert(record);
    onStored();
    try {
      await putFile(bucket, keyOf(record), bytes, IMAGE_TYPES[file.type]);
    } catch (error) {
      log.error("cannot store an upload", errorFields(error));
      await this.#remove(record);
      throw new VqdError("internal", "the file could not be stored", { retryable: true });
    }
    return record;
  }

  /** The owner's file. Errors: not_found. */
  get(id: string, keyName: string): FileRecord {
    const file = this.#options.store.uploads.get(id);
    if (file === undefined || file.keyName !== keyName || file.expiresAt <= Date.now()) {
      throw new VqdError("not_found", "the file does not exist or has expired");
    }
    return file;
  }

  list(keyName: string, query: ListQuery): FilePage {
    const found = this.#options.store.uploads.page(keyName, query);
    const files = found.slice(0, query.limit);
    const end = found.length > query.limit ? (files.at(-1) ?? null) : null;
    const { items, previous, next } = toPage(files, query, end);
    return { files: items, previous, next };
  }

  /** Errors: not_found. */
  async delete(id: string, keyName: string): Promise<void> {
    await this.#remove(this.get(id, keyName));
  }

  /** Deletes up to `limit` files that have expired. */
  async expire(now: number, limit: number): Promise<void> {
    for (const file of this.#options.store.uploads.expired(now, limit)) await this.#remove(file);
  }

  async #remove(file: FileRecord): Promise<void> {
    // As a list: the self-hosted bucket takes only lists.
    await this.#options.bucket.delete([keyOf(file)]);
    this.#options.store.uploads.remove(file.id);
  }
}
