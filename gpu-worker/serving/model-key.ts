// The key of a model that is not loaded: what its queues and credentials are named after.

import { delimiter } from "node:path";
import { MODEL_KEY_PATTERN, modelKey, modelNameSchema } from "@vqd/shared/model.ts";
import { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { DigestCache } from "../checkpoint/files/digest-cache.ts";
import { defaultModelName } from "./manifest.ts";
import type { ModelSource } from "./model-host.ts";

/** Reads all files of the checkpoint, unless `cacheDir` remembers their digests. Throws an Error if it is none. */
export const versionOfCheckpoint = (dir: string, cacheDir: string): string =>
  new DiffusersCheckpoint(dir).version(new DigestCache(cacheDir));

/** As `versionOfCheckpoint`. */
export function keyOfCheckpoint(
  { dir, name = defaultModelName(dir) }: ModelSource,
  cacheDir: string,
): string {
  return modelKey({ name, version: versionOfCheckpoint(dir, cacheDir) });
}

/**
 * The keys that a list names, separated by commas or as in PATH: of keys, and of checkpoint folders, each with the name it
 * is served as before it and an equals sign (`owner/name=FOLDER`), or without. Throws an Error that names what is wrong.
 */
export function keysOfModels(list: string, cacheDir: string): string[] {
  const references = list.split(/,/).flatMap((part) => part.split(delimiter));
  return [...new Set(references.filter((part) => part !== "").map((part) => keyOfReference(part, cacheDir)))];
}

function keyOfReference(reference: string, cacheDir: string): string {
  if (MODEL_KEY_PATTERN.test(reference)) return reference;
  const [name, dir] = reference.includes("=") ? reference.split("=", 2) : [undefined, reference];
  const parsed = modelNameSchema.optional().safeParse(name);
  if (!parsed.success)
    throw new Error(`${reference}: ${JSON.stringify(name)} ${parsed.error.issues[0]?.message}`);
  try {
    return keyOfCheckpoint({ dir: dir ?? "", name: parsed.data }, cacheDir);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${reference} is neither a model key nor a checkpoint folder: ${reason}`, { cause });
  }
}
