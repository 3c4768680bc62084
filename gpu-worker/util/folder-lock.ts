// Keeps commands that write the same folder from running at the same time.

import { mkdirSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { basename, dirname, join, resolve } from "node:path";

/** Locks of this process. */
const held = new Set<string>();

/** Lock beside the folder, which may not exist yet, or inside it if its parent is read-only. */
function lockPaths(dir: string): [beside: string, inside: string] {
  const name = `.${basename(dir)}.vqd-lock`;
  return [join(dirname(dir), name), join(dir, ".vqd-lock")];
}

/**
 * Runs `act` while this process holds the folder's lock. Throws an Error naming the other process if a living one holds
 * it; the lock of a dead process is taken over.
 */
export async function withFolderLock<T>(folder: string, act: () => Promise<T> | T): Promise<T> {
  const dir = resolve(folder);
  const [beside, inside] = lockPaths(dir);
  mkdirSync(dirname(dir), { recursive: true });
  let path = beside;
  try {
    take(beside, dir);
  } catch (error) {
    if (!["EACCES", "EPERM", "EROFS"].includes(codeOf(error))) throw error;
    path = inside;
    take(inside, dir);
  }
  held.add(path);
  try {
    return await act();
  } finally {
    held.delete(path);
    rmSync(path, { force: true });
  }
}

const codeOf = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? "";

function take(path: string, dir: string): void {
  try {
    writeFileSync(path, `${process.pid}\n`, { flag: "wx" });
    return;
  } catch (error) {
    if (codeOf(error) !== "EEXIST") throw error;
  }
  const owner = readIfThere(path);
  if (held.has(path) || isAlive(Number.parseInt(owner, 10))) {
    throw new Error(
      `${dir}: another vqd command (process ${owner.trim()}) is writing to this folder; wait for it, or delete ${path} if there is no such command`,
    );
  }
  removeStale(path, owner);
  take(path, dir);
}

/** Removes the lock of a dead `owner`, unless another process has taken it over meanwhile. */
function removeStale(path: string, owner: string): void {
  const aside = `${path}.${process.pid}`;
  try {
    renameSync(path, aside);
    if (readIfThere(aside) === owner) rmSync(aside, { force: true });
    else renameSync(aside, path);
  } catch (error) {
    if (codeOf(error) !== "ENOENT") throw error;
  }
}

function readIfThere(path: string): string {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return "";
  }
}

/** This process's own number can be left over from before a restart of a container. */
function isAlive(pid: number): boolean {
  if (!Number.isInteger(pid) || pid <= 0 || pid === process.pid) return false;
  try {
    process.kill(pid, 0);
    return true;
  } catch (error) {
    // Another user's process.
    return codeOf(error) === "EPERM";
  }
}
