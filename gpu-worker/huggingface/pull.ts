// Brings the files of a VQ-Diffusion checkpoint from the Hugging Face Hub to a folder: those of the layout, and no others.

import { basename, dirname, join, resolve } from "node:path";
import { classifierFreeConfigSchema, modelIndexSchema, PIPELINE_CLASSES } from "../checkpoint/config.ts";
import { readJson } from "../checkpoint/files/json.ts";
import { MODEL_INDEX, MODEL_TEXTS, requiredTexts, TOKENIZER_FILES } from "../checkpoint/model-files.ts";
import { withFolderLock } from "../util/folder-lock.ts";
import { INDEX_ENDING, shardNames } from "../checkpoint/weights/shards.ts";
import { pickWeights } from "../checkpoint/weights/weight-files.ts";
import { componentsOf } from "../checkpoint/weights/components.ts";
import { DownloadError } from "../download/errors.ts";
import { downloadAll } from "../download/folder.ts";
import { cachedBlobs, type Listing, listRepository, type RepositoryOptions } from "./listing.ts";

const UNCONDITIONAL = "learned_classifier_free_sampling_embeddings";
/** Downloaded along with the model's own files. */
const DOCUMENTS = ["README.md", "LICENSE"];

export interface PullOptions extends RepositoryOptions {
  readonly dir: string;
  readonly variant?: string | undefined;
  /** The Hugging Face cache, whose files are copied rather than downloaded. */
  readonly cacheDir?: string | undefined;
  /** Bytes of the weights that are on the disk; the texts before them are small. */
  readonly onProgress?: ((done: number, total: number) => void) | undefined;
  readonly firstRetryMs?: number;
}

/** Returns the paths, below `dir`, of all files that make up the checkpoint. Throws DownloadError and CheckpointError. */
export async function pullCheckpoint(options: PullOptions): Promise<string[]> {
  const dir = resolve(options.dir);
  return withFolderLock(dir, () => pullTo(dir, options));
}

async function pullTo(dir: string, options: PullOptions): Promise<string[]> {
  const { repo, variant } = options;
  const listing = await listRepository(options);
  const isListed = (path: string): boolean => listing.has(path);
  const refuseWithout = (paths: readonly string[]): void => {
    const missing = paths.filter((path) => !isListed(path));
    if (missing.length === 0) return;
    const layout = `is not a checkpoint in the diffusers layout: it has no ${missing.join(", ")}`;
    throw new DownloadError(`${repo} ${layout}`);
  };
  refuseWithout([MODEL_INDEX]);
  const quiet = { ...options, onProgress: undefined };
  await fetchFiles(listing, [MODEL_INDEX], dir, quiet);
  // Before gigabytes of another model come.
  const { _class_name: pipeline } = readJson(join(dir, MODEL_INDEX), modelIndexSchema);
  const isText = pipeline === PIPELINE_CLASSES.text;
  const components = componentsOf(isText);
  const tokenizers = [TOKENIZER_FILES.merges, TOKENIZER_FILES.json];
  refuseWithout([
    ...requiredTexts(isText),
    ...(isText && !tokenizers.some(isListed) ? [TOKENIZER_FILES.merges] : []),
  ]);
  const texts = [...MODEL_TEXTS, ...DOCUMENTS].filter(isListed);
  await fetchFiles(listing, texts, dir, quiet);

  const needsUnconditional =
    isText && readJson(join(dir, UNCONDITIONAL, "config.json"), classifierFreeConfigSchema).learnable;
  const needed = components.filter((component) => component !== UNCONDITIONAL || needsUnconditional);
  const chosen = needed.map((component) => {
    const prefix = `${component}/`;
    const names = listing.paths.filter((path) => path.startsWith(prefix));
    const file = pickWeights(
      names.map((path) => path.slice(prefix.length)),
      component,
      variant,
    );
    if (file === undefined) throw new DownloadError(`${repo} has no weights in ${component}`);
    return prefix + file;
  });
  if (variant !== undefined && !chosen.some((path) => basename(path).includes(`.${variant}.`))) {
    throw new DownloadError(`${repo} has no files of the variant ${JSON.stringify(variant)}`);
  }
  const indexes = chosen.filter((path) => INDEX_ENDING.test(path));
  await fetchFiles(listing, indexes, dir, quiet);
  const shards = indexes.flatMap((path) =>
    shardNames(join(dir, path)).map((name) => `${dirname(path)}/${name}`),
  );
  const weights = [...chosen.filter((path) => !INDEX_ENDING.test(path)), ...shards];
  await fetchFiles(listing, weights, dir, options);
  return [...texts, ...indexes, ...weights];
}

function fetchFiles(
  listing: Listing,
  paths: readonly string[],
  dir: string,
  { repo, token, cacheDir, onProgress, firstRetryMs }: PullOptions,
): Promise<void> {
  const wanted = paths.map((path) => {
    const file = listing.file(path);
    return { path, file, token, copies: cachedBlobs(cacheDir, repo, file) };
  });
  return downloadAll(wanted, dir, { onProgress, firstRetryMs });
}
