// Downloads several files to a folder, and to nowhere else.

import { existsSync, mkdirSync, realpathSync, statfsSync } from "node:fs";
import { dirname, join, sep } from "node:path";
import { download, type DownloadOptions, type RemoteFile, sizeOfFile } from "./download.ts";
import { DownloadError } from "./errors.ts";

export interface WantedFile extends Pick<DownloadOptions, "token" | "copies"> {
  /** In the folder. */
  readonly path: string;
  readonly file: RemoteFile;
}

export interface FolderOptions {
  /** Bytes that are on the disk. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly firstRetryMs?: number | undefined;
}

/** Throws a DownloadError, before anything is downloaded if the disk has too little room. */
export async function downloadAll(
  wanted: readonly WantedFile[],
  dir: string,
  { onProgress, firstRetryMs }: FolderOptions,
): Promise<void> {
  const bytesOf = (files: readonly WantedFile[]): number =>
    files.reduce((sum, { file }) => sum + sizeOfFile(file), 0);
  const total = bytesOf(wanted);
  mkdirSync(dir, { recursive: true });
  const { bavail, bsize } = statfsSync(dir);
  const missing = total - bytesOf(wanted.filter(({ path }) => existsSync(join(dir, path))));
  if (missing > bavail * bsize)
    throw new DownloadError(`${dir}: ${missing} bytes are needed, ${bavail * bsize} are free`);
  let before = 0;
  for (const { path, file, token, copies = [] } of wanted) {
    const start = before;
    await download(file, place(dir, path), {
      token,
      copies,
      ...(firstRetryMs === undefined ? {} : { firstRetryMs }),
      onProgress: (done) => onProgress?.(start + done, total),
    });
    before += sizeOfFile(file);
  }
}

/** Where a file goes; a link in the folder must not lead out of it. */
function place(dir: string, path: string): string {
  const target = join(dir, path);
  mkdirSync(dirname(target), { recursive: true });
  const real = realpathSync(dirname(target));
  const root = realpathSync(dir);
  if (real !== root && !real.startsWith(root + sep)) {
    throw new DownloadError(`${dirname(target)} is a link out of ${dir}; nothing is written there`);
  }
  return target;
}
