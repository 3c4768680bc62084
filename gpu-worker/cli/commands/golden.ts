// `vqd golden`: records what a checkpoint computes, for the self-check of workers that load it.

import { existsSync } from "node:fs";
import { join, resolve } from "node:path";
import { VQDiffusionPipeline } from "../../pipeline/pipeline.ts";
import { DEFAULT_CACHE_DIR } from "../../config.ts";
import { GOLDEN } from "../../checkpoint/model-files.ts";
import { writeFileAtomic } from "../../util/write-file-atomic.ts";
import { withFolderLock } from "../../util/folder-lock.ts";
import { recordGolden, selfCheck } from "../../serving/self-check.ts";
import { type Command, readArguments, stringOptions, UsageError } from "../command.ts";

const USAGE = "vqd golden FOLDER [options]";
const DEFAULT_PROMPT = "an image";

const help = `Usage: ${USAGE}

Records in FOLDER/${GOLDEN} what the checkpoint in FOLDER computes, in fp32 on the CPU. A worker that loads it
repeats these steps on its own provider, and does not serve the model if the results differ. The file is part of the
checkpoint, so the checkpoint's version changes.

Options:
  --prompt TEXT      prompt of the recorded steps                                [${DEFAULT_PROMPT}]
  --cache DIR        folder for built graphs (VQD_CACHE)                       [.vqd/cache]
  --force            overwrite an existing file
  -h, --help         this text
`;

export const golden: Command = {
  summary: "record what a checkpoint computes, for the self-check of workers",
  help,
  options: { ...stringOptions("prompt", "cache"), force: { type: "boolean" } },
  async run(positionals, values, flags) {
    const [folder] = readArguments(positionals, USAGE, ["FOLDER"]);
    const path = join(resolve(folder), GOLDEN);
    if (existsSync(path) && !flags.has("force"))
      throw new UsageError(`${path} exists; --force overwrites it`);
    const cacheDir = values["cache"] ?? (process.env["VQD_CACHE"] || DEFAULT_CACHE_DIR);
    const pipeline = await VQDiffusionPipeline.fromPretrained(folder, { cacheDir });
    try {
      const recorded = await recordGolden(pipeline, values["prompt"] ?? DEFAULT_PROMPT);
      const { error } = await selfCheck(pipeline, recorded);
      await withFolderLock(folder, () => writeFileAtomic(path, `${JSON.stringify(recorded)}\n`));
      process.stdout.write(
        `${path}\n${recorded.cases.length} steps, read back with an error of ${error.toExponential(1)}\n`,
      );
    } finally {
      await pipeline.release();
    }
  },
};
