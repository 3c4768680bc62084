// Reads archived records for their owners, and takes out what they delete.

import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Actor } from "../../prediction/accounting/audit.ts";
import type { PredictionRecord } from "../../prediction/records.ts";
import { byteLength } from "../../util/bytes.ts";
import { isOfAnother } from "../admission/lookup.ts";
import type { OwnerRate } from "../admission/owner-rate.ts";
import type { PredictionStore } from "../storage/store.ts";
import type { ArchivePart } from "./archive-store.ts";
import { type ArchivedLine, type ArchivedRecord, readLines, recordOf } from "./lines.ts";

export interface ArchiveReaderOptions {
  readonly store: PredictionStore;
  readonly bucket: Pick<R2Bucket, "get">;
  readonly reads: OwnerRate;
  readonly log: Logger;
}

/** Lines of an object that are still archived, and how many bytes were read for them. */
export interface ReadLines {
  readonly lines: readonly ArchivedLine[];
  readonly bytes: number;
}

const RETRY_SECONDS = 5;

export class ArchiveReader {
  readonly #options: ArchiveReaderOptions;
  /** The last read of each owner that is under way or waits; none of them rejects. */
  readonly #last = new Map<string, Promise<unknown>>();

  constructor(options: ArchiveReaderOptions) {
    this.#options = options;
  }

  /** The owner's prediction, if it is archived. This and deleting one count as reads. Errors: rate_limited, internal. */
  async get(id: string, keyName: string): Promise<PredictionRecord | undefined> {
    return (await this.#find(id, keyName))?.record;
  }

  /** Deletes the owner's prediction, if it is archived: at once for everybody, and soon in object storage. Errors: as of `get`. */
  async delete(id: string, keyName: string, by: Actor | undefined, now = Date.now()): Promise<boolean> {
    const found = await this.#find(id, keyName);
    if (found === undefined) return false;
    const { store } = this.#options;
    const { archive, audit } = store;
    return store.atomically(() => {
      const part = archive.partOf(id);
      if (part === undefined) return false;
      archive.forget([found.record], part);
      archive.markStale(part.seq, now);
      if (isOfAnother(found, by)) audit.note(keyName, "prediction.deleted", id, by);
      return true;
    });
  }

  /**
   * Begins a read when the owner's others are over: what they have read has been counted, and however many are asked for at once,
   * the hub holds one of them in memory.
   */
  async inTurn<T>(keyName: string, read: () => Promise<T>): Promise<T> {
    const turn = (this.#last.get(keyName) ?? Promise.resolve()).then(read);
    const over = turn.catch(() => {});
    this.#last.set(keyName, over);
    try {
      return await turn;
    } finally {
      if (this.#last.get(keyName) === over) this.#last.delete(keyName);
    }
  }

  async #find(id: string, keyName: string): Promise<ArchivedRecord | undefined> {
    const { store, reads } = this.#options;
    const part = store.archive.partOf(id);
    if (part?.keyName !== keyName) return undefined;
    return this.inTurn(keyName, async () => {
      reads.admit(keyName);
      const { lines, bytes } = await this.linesOf(part);
      reads.count(keyName, bytes);
      const line = lines.find(({ place }) => place.id === id);
      return line === undefined ? undefined : recordOf(line);
    });
  }

  /** What is archived in an object; nothing of one that is lost. Errors: internal while object storage does not answer. */
  async linesOf(part: ArchivePart): Promise<ReadLines> {
    const { store, bucket, log } = this.#options;
    const { archive } = store;
    let { name } = part;
    for (;;) {
      const all = await readLines(bucket, name).catch((cause: unknown) => {
        log.error("cannot read an archive", errorFields(cause));
        throw new VqdError("internal", "the archive cannot be read at the moment", {
          cause,
          retryable: true,
          retryAfterSeconds: RETRY_SECONDS,
        });
      });
      if (all !== undefined) {
        const lines = all.filter(({ place }) => archive.isIn(place.id, part.seq));
        return { lines, bytes: all.reduce((sum, { text }) => sum + byteLength(text), 0) };
      }
      // It may have been replaced meanwhile, or be of age.
      const now = archive.part(part.seq);
      if (now === undefined) return { lines: [], bytes: 0 };
      if (now.name === name) {
        log.error("an archive is lost or damaged", { owner: part.keyName });
        return { lines: [], bytes: 0 };
      }
      ({ name } = now);
    }
  }
}
