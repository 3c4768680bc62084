// The options of commands that run a model: which one, and on what.

import { availableParallelism } from "node:os";
import { BUNDLED_MODEL, DEFAULT_CACHE_DIR } from "../config.ts";
import { VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import { choiceOption, numberOption, stringOptions } from "./command.ts";

export const MODEL_OPTIONS = stringOptions("model", "provider", "threads", "cache");

export const MODEL_HELP = `\
  --model DIR              checkpoint in the diffusers layout (VQD_MODEL)       [the bundled one]
  --provider NAME          cpu, webgpu or cuda (VQD_PROVIDER)                               [cpu]
  --threads N              threads of the CPU provider (VQD_THREADS)                  [all cores]
  --cache DIR              where built graphs are kept (VQD_CACHE)                   [.vqd/cache]
`;

/** Loads what the options say, else the environment; the caller releases it. */
export function loadPipeline(
  values: Readonly<Record<string, string | undefined>>,
): Promise<VQDiffusionPipeline> {
  const env = process.env;
  const threads = numberOption({ threads: values["threads"] ?? env["VQD_THREADS"] }, "threads", {
    min: 1,
    max: 256,
    integer: true,
  });
  return VQDiffusionPipeline.fromPretrained(values["model"] ?? env["VQD_MODEL"] ?? BUNDLED_MODEL, {
    provider: choiceOption({ provider: values["provider"] ?? env["VQD_PROVIDER"] }, "provider", [
      "cpu",
      "webgpu",
      "cuda",
    ]),
    threads: threads ?? availableParallelism(),
    cacheDir: values["cache"] ?? env["VQD_CACHE"] ?? DEFAULT_CACHE_DIR,
  });
}
