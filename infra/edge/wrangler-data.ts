// Adopts the data of earlier releases, which ran the edge in wrangler's development server: SQLite of the hubs, images and keys.

import { chmodSync, existsSync, mkdirSync, readdirSync, renameSync, rmSync } from "node:fs";
import { dirname, join } from "node:path";
import { DatabaseSync } from "node:sqlite";
import { FOLDERS } from "./workerd-config.ts";

/** Wrangler's folder, in the edge's data folder. */
const OLD = "v3";

/**
 * Moves the old data in `dir` to its new place; if interrupted, the next call continues. Returns the folders that it left
 * in place because the new place is taken, which is so if both releases have been used in turn. Throws an Error that names
 * the file if a database cannot be read.
 */
export function adoptWranglerData(dir: string): string[] {
  const old = join(dir, OLD);
  if (!existsSync(old)) return [];
  moveBlobs(join(old, "r2"), "_mf_objects", join(dir, FOLDERS.files));
  moveBlobs(join(old, "kv"), "_mf_entries", join(dir, FOLDERS.keys));
  const left = moveObjects(join(old, "do"), join(dir, FOLDERS.objects));
  if (left.length === 0) rmSync(old, { recursive: true });
  return left;
}

/** The folder of each class of Durable Objects. */
function moveObjects(from: string, to: string): string[] {
  return foldersIn(from).flatMap((name) => {
    const [source, target] = [join(from, name), join(to, name)];
    if (existsSync(target)) return [source];
    mkdirSync(to, { recursive: true });
    chmodSync(source, 0o700);
    for (const file of readdirSync(source)) chmodSync(join(source, file), 0o600);
    renameSync(source, target);
    return [];
  });
}

/** Buckets and namespaces have the same layout: a table of keys, and a folder with a file for each. */
function moveBlobs(from: string, table: string, to: string): void {
  const names = foldersIn(from);
  const blobFolders = names.map((name) => join(from, name, "blobs")).filter((path) => existsSync(path));
  const databases = names.flatMap((name) =>
    readdirSync(join(from, name))
      .filter((file) => file.endsWith(".sqlite") && file !== "metadata.sqlite")
      .map((file) => join(from, name, file)),
  );
  for (const path of databases) {
    for (const { key, blob_id: blob } of rowsOf(path, table)) {
      const source = blobFolders.map((folder) => join(folder, blob)).find((file) => existsSync(file));
      if (source === undefined) continue;
      const target = join(to, key);
      mkdirSync(dirname(target), { recursive: true, mode: 0o700 });
      chmodSync(source, 0o600);
      renameSync(source, target);
    }
  }
}

function rowsOf(path: string, table: string): { key: string; blob_id: string }[] {
  try {
    using database = new DatabaseSync(path);
    return database.prepare(`SELECT key, blob_id FROM ${table}`).all() as { key: string; blob_id: string }[];
  } catch (cause) {
    throw new Error(`${path}: cannot be read: ${(cause as Error).message}`, { cause });
  }
}

const foldersIn = (dir: string): string[] =>
  existsSync(dir)
    ? readdirSync(dir, { withFileTypes: true })
        .filter((entry) => entry.isDirectory())
        .map(({ name }) => name)
    : [];
