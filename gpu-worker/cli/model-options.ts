// The options of commands that run a model: which model, and how.

import { availableParallelism } from "node:os";
import { delimiter } from "node:path";
import { BUNDLED_MODEL, DEFAULT_CACHE_DIR } from "../config.ts";
import { chooseQuantization } from "../graph/choose-form.ts";
import { QUANTIZATIONS } from "../graph/form.ts";
import { VQDiffusionPipeline } from "../pipeline/pipeline.ts";
import type { Provider } from "../runtime/session.ts";
import { choiceOption, numberOption, stringOptions } from "./command.ts";

export const MODEL_OPTIONS = stringOptions("model", "provider", "quantization", "threads", "cache");

export const MODEL_HELP = `\
  --model DIR              diffusers checkpoint (first folder of VQD_MODEL)     [the bundled one]
  --provider NAME          cpu, webgpu or cuda (VQD_PROVIDER)                               [cpu]
  --quantization Q         none, int8, fp16, w8a16 or w4a16 (VQD_QUANTIZATION)
                                                                [int8 on the CPU, w8a16 elsewhere]
  --threads N              threads of the CPU provider (VQD_THREADS)                  [all cores]
  --cache DIR              folder for built graphs (VQD_CACHE)                       [.vqd/cache]
`;

/** From the option, else the environment, else the CPU. */
export function readProvider(values: Readonly<Record<string, string | undefined>>): Provider {
  const provider = values["provider"] ?? (process.env["VQD_PROVIDER"] || undefined);
  return choiceOption({ provider }, "provider", ["cpu", "webgpu", "cuda"]) ?? "cpu";
}

/** Threads and folder for built graphs: from the options, else the environment, else all cores and the default folder. */
export function readRuntime(values: Readonly<Record<string, string | undefined>>): {
  threads: number;
  cacheDir: string;
} {
  const env = process.env;
  const given = { threads: values["threads"] ?? (env["VQD_THREADS"] || undefined) };
  return {
    threads: numberOption(given, "threads", { min: 1, max: 256, integer: true }) ?? availableParallelism(),
    cacheDir: values["cache"] ?? (env["VQD_CACHE"] || DEFAULT_CACHE_DIR),
  };
}

/** Loads the model of the options, else of the environment; the caller releases it. */
export async function loadPipeline(
  values: Readonly<Record<string, string | undefined>>,
): Promise<VQDiffusionPipeline> {
  const env = process.env;
  const provider = readProvider(values);
  const quantization = values["quantization"] ?? (env["VQD_QUANTIZATION"] || undefined);
  // Workers take several folders, as in PATH.
  const folder = env["VQD_MODEL"]?.split(delimiter).find((dir) => dir !== "");
  return VQDiffusionPipeline.fromPretrained(values["model"] ?? folder ?? BUNDLED_MODEL, {
    provider,
    quantization: await chooseQuantization(
      provider,
      choiceOption({ quantization }, "quantization", QUANTIZATIONS),
    ),
    ...readRuntime(values),
  });
}
