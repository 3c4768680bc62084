// Rewrites a checkpoint folder, of any weight files that are read, as one safetensors file per component.

import { copyFileSync, mkdirSync } from "node:fs";
import { dirname, join, relative, resolve } from "node:path";
import { DiffusersCheckpoint } from "./diffusers-layout.ts";
import { CheckpointError } from "./errors.ts";
import type { CheckpointFolder } from "./files/folder.ts";
import { onDisk } from "./files/open.ts";
import { inspectCheckpoint } from "./inspect.ts";
import { presentTexts } from "./model-files.ts";
import { openWeights } from "./weights/weight-files.ts";
import { writeCheckpoint, type WriteOptions } from "./write-checkpoint.ts";

/** Copied along with the model's configs and tables. */
const DOCUMENTS = ["README.md", "LICENSE", "LICENSE.md", "LICENSE.txt", "vocabulary.txt"] as const;

export interface ConvertOptions extends WriteOptions {
  readonly variant?: string | undefined;
}

/**
 * Writes the checkpoint `from` to the folder `to`, which appears when it is complete. Throws a CheckpointError for
 * whatever keeps `from` from being used, and if `to` is taken.
 */
export async function convertCheckpoint(from: string, to: string, options: ConvertOptions): Promise<void> {
  const { variant } = options;
  const source = resolve(from);
  const target = resolve(to);
  const inspection = inspectCheckpoint(source, variant);
  const [problem, ...others] = inspection.problems;
  if (problem !== undefined) {
    const more = others.length === 0 ? "" : ` (and ${others.length} more; vqd inspect lists them)`;
    throw new CheckpointError(source, `cannot be converted: ${problem}${more}`);
  }
  checkApart(source, target);
  const checkpoint = new DiffusersCheckpoint(source, { variant });
  const { folder } = checkpoint;
  const components = inspection.components.map(({ component, parameters }) => ({
    component,
    parameters,
    open: () => openWeights(folder, checkpoint.weightsFile(component)),
  }));
  await writeCheckpoint(
    { components, writeTexts: (building) => copyTexts(folder, building) },
    target,
    options,
  );
}

function checkApart(source: string, target: string): void {
  const within = relative(target, source);
  if (within === "" || !(within.startsWith("..") || within === resolve(within))) {
    throw new CheckpointError(target, "holds the checkpoint that is to be converted");
  }
}

function copyTexts(folder: CheckpointFolder, building: string): void {
  for (const name of [...presentTexts(folder), ...DOCUMENTS.filter((document) => folder.has(document))]) {
    const path = folder.path(name);
    mkdirSync(join(building, dirname(name)), { recursive: true });
    onDisk(path, () => copyFileSync(path, join(building, name)));
  }
}
