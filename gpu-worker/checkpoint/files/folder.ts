// A checkpoint's folder. Files are accessed by name, and links must not lead out of the folder.

import { lstatSync, realpathSync, statSync } from "node:fs";
import { basename, dirname, join, resolve, sep } from "node:path";
import type { z } from "zod";
import { CheckpointError } from "../errors.ts";
import { readJson } from "./json.ts";
import { onDisk, readNames, readText } from "./open.ts";

export class CheckpointFolder {
  /** Absolute path. */
  readonly dir: string;
  /** Folders that links may resolve to. */
  readonly #roots: readonly string[];

  /** Throws a CheckpointError if the folder does not exist. */
  constructor(dir: string) {
    this.dir = resolve(dir);
    const stats = onDisk(this.dir, () => statSync(this.dir, { throwIfNoEntry: false }));
    if (stats?.isDirectory() !== true) {
      throw new CheckpointError(this.dir, stats === undefined ? "no such folder" : "is not a folder", {
        remedy: "give the folder that contains model_index.json",
      });
    }
    const root = onDisk(this.dir, () => realpathSync(this.dir));
    // In the Hugging Face cache, models--OWNER--NAME/snapshots/COMMIT contains links to models--OWNER--NAME/blobs.
    const snapshots = dirname(root);
    this.#roots = basename(snapshots) === "snapshots" ? [root, join(dirname(snapshots), "blobs")] : [root];
  }

  /** Whether the name exists, including as a dangling link. */
  has(name: string): boolean {
    const path = join(this.dir, name);
    return onDisk(path, () => lstatSync(path, { throwIfNoEntry: false })) !== undefined;
  }

  /** Absolute path of a file, which need not exist. Throws a CheckpointError if a link leads out of the folder. */
  path(name: string): string {
    const path = join(this.dir, name);
    const real = realPath(path);
    if (real === undefined || this.#roots.some((root) => real === root || real.startsWith(root + sep))) {
      return path;
    }
    throw new CheckpointError(path, `is a link that leads out of the checkpoint's folder, to ${real}`, {
      remedy: "replace it with a copy, or link the whole folder instead",
    });
  }

  json<T>(name: string, schema: z.ZodType<T>, maxBytes?: number): T {
    return readJson(this.path(name), schema, maxBytes);
  }

  text(name: string, maxBytes: number): string {
    return readText(this.path(name), maxBytes);
  }

  /** Names in a subfolder, or an empty list if it does not exist. */
  names(name: string): string[] {
    return readNames(this.path(name));
  }
}

/** Undefined if the path does not exist, which opening it will report. */
function realPath(path: string): string | undefined {
  try {
    return realpathSync(path);
  } catch {
    return undefined;
  }
}
