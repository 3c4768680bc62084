// Opens and reads files. System errors become CheckpointErrors that name the file and a remedy.

import { closeSync, fstatSync, openSync, readdirSync, readSync, type Stats, statSync } from "node:fs";
import { CheckpointError, FETCH_AGAIN } from "../errors.ts";

/** What system error codes mean to the user. */
const REASONS: Readonly<Record<string, [reason: string, remedy: string]>> = {
  ENOENT: ["the file is missing, or is a link to a missing file", FETCH_AGAIN],
  ENOTDIR: ["its parent is not a folder", "fetch the checkpoint again"],
  EACCES: ["this user may not read it", "change its owner or permissions"],
  EPERM: ["this user may not read it", "change its owner or permissions"],
  ELOOP: ["is a link that leads back to itself", "replace it with the file"],
  ENAMETOOLONG: ["its path is too long", "move the checkpoint to a shorter path"],
  EMFILE: ["cannot be opened: too many open files", "raise ulimit -n"],
  EIO: ["cannot be read: input/output error", "check the disk"],
  ESTALE: ["the network file system it is on is gone", "mount it again"],
};

/** Runs `act`, turning system errors into a CheckpointError for `path`. */
export function onDisk<T>(path: string, act: () => T): T {
  try {
    return act();
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === undefined || error instanceof CheckpointError) throw error;
    const [reason, remedy] = REASONS[code] ?? [`cannot be read (${code})`, "check the file and its disk"];
    throw new CheckpointError(path, reason, { remedy, cause: error });
  }
}

/** Opens a regular file for reading; the caller closes it. Throws a CheckpointError. */
export function openFile(path: string): number {
  return onDisk(path, () => {
    // Opening a pipe would block.
    checkIsFile(path, statSync(path));
    return openSync(path, "r");
  });
}

function checkIsFile(path: string, stats: Stats): void {
  if (stats.isFile()) return;
  const kind = stats.isDirectory() ? "a folder" : "a device, a pipe or a socket";
  throw new CheckpointError(path, `is ${kind}, not a file`, { remedy: "replace it with the file" });
}

/** Reads a text file of at most `maxBytes`. Throws a CheckpointError. */
export function readText(path: string, maxBytes: number): string {
  const fd = openFile(path);
  try {
    return onDisk(path, () => {
      const { size } = fstatSync(fd);
      if (size > maxBytes) {
        throw new CheckpointError(path, `has ${size} bytes; the limit is ${maxBytes}`, {
          remedy: FETCH_AGAIN,
        });
      }
      // Reads no more than the reported size: files in /proc and the like report 0 and may never end.
      const bytes = Buffer.alloc(size);
      let done = 0;
      while (done < size) {
        const read = readSync(fd, bytes, done, size - done, done);
        if (read === 0) break;
        done += read;
      }
      return bytes.toString("utf8", 0, done);
    });
  } finally {
    closeSync(fd);
  }
}

/** Names in a folder, or an empty list if it does not exist. Throws a CheckpointError if it cannot be read. */
export function readNames(folder: string): string[] {
  return onDisk(folder, () =>
    statSync(folder, { throwIfNoEntry: false }) === undefined ? [] : readdirSync(folder),
  );
}
