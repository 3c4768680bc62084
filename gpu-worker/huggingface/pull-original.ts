// Brings a published model of the original code base to a folder, in its layout: from where its authors put the files, or from a mirror.

import { basename, join, resolve } from "node:path";
import type { PublishedFile, PublishedModel } from "../checkpoint/original/published.ts";
import type { RemoteFile } from "../download/download.ts";
import { DownloadError } from "../download/errors.ts";
import { downloadAll, type FolderOptions, type WantedFile } from "../download/folder.ts";
import { fileAt } from "../download/url.ts";
import { withFolderLock } from "../util/folder-lock.ts";
import { cachedBlobs, type Listing, listRepository, type RepositoryOptions } from "./listing.ts";

export interface PullOriginalOptions extends FolderOptions {
  readonly model: PublishedModel;
  readonly dir: string;
  /** A repository of the Hugging Face Hub that has the checkpoint, and others of the files, by their names. */
  readonly mirror?: (RepositoryOptions & { readonly cacheDir?: string | undefined }) | undefined;
  /** SHA-256 of the training checkpoint, which nobody has published. [the mirror's] */
  readonly sha256?: string | undefined;
}

export interface PulledOriginal {
  readonly config: string;
  readonly model: string;
  /** Files of which no hash is known. */
  readonly unchecked: readonly string[];
}

/** Returns the files that the conversion takes. Throws a DownloadError. */
export async function pullOriginal(options: PullOriginalOptions): Promise<PulledOriginal> {
  const dir = resolve(options.dir);
  const { model, mirror, sha256 } = options;
  const checkpoint = { ...model.model, sha256: sha256 ?? model.model.sha256 };
  return withFolderLock(dir, async () => {
    const listing = mirror === undefined ? undefined : await listRepository(mirror);
    const wanted: WantedFile[] = [];
    for (const file of [checkpoint, model.config, ...model.others]) {
      const found = listing === undefined ? undefined : mirrored(file, listing);
      if (mirror !== undefined && found !== undefined) {
        const copies = cachedBlobs(mirror.cacheDir, mirror.repo, found);
        wanted.push({ path: file.path, file: found, token: mirror.token, copies });
        continue;
      }
      if (mirror !== undefined && file === checkpoint) {
        throw new DownloadError(`${mirror.repo} has no ${basename(file.path)}`);
      }
      wanted.push({ path: file.path, file: await fileAt(file.urls, file.sha256) });
    }
    await downloadAll(wanted, dir, options);
    return {
      config: join(dir, model.config.path),
      model: join(dir, checkpoint.path),
      unchecked: wanted.filter(({ file }) => file.hash === undefined).map(({ path }) => join(dir, path)),
    };
  });
}

/** The file of this name in a repository; with the hash that is known, whatever the repository says. */
function mirrored({ path, sha256 }: PublishedFile, listing: Listing): RemoteFile | undefined {
  const name = basename(path);
  const listed = listing.paths.find((candidate) => basename(candidate) === name);
  if (listed === undefined) return undefined;
  const file = listing.file(listed);
  return sha256 === undefined ? file : { ...file, hash: { algorithm: "sha256", hex: sha256.toLowerCase() } };
}
