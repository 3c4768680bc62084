// `vqd build`: builds a checkpoint's graphs ahead of time, to bake them into an image or to fill a shared cache.

import { DigestCache } from "../../checkpoint/files/digest-cache.ts";
import { DiffusersCheckpoint } from "../../checkpoint/diffusers-layout.ts";
import { ensureGraphs } from "../../graph/cache.ts";
import { defaultQuantization, modelForm, QUANTIZATIONS } from "../../graph/form.ts";
import { choiceOption, type Command, readArguments, stringOptions } from "../command.ts";
import { readProvider, readRuntime } from "../model-options.ts";

const USAGE = "vqd build FOLDER [options]";

const help = `Usage: ${USAGE}

Builds the graphs of the checkpoint in FOLDER, as a worker does at its first start, and prints where they are. It needs
no GPU. A worker finds them if it has the same cache folder, provider and quantization.

Options:
  --provider NAME    cpu, webgpu or cuda (VQD_PROVIDER)                        [cpu]
  --quantization Q   none, int8, fp16, w8a16 or w4a16        [int8 on the CPU, w8a16 elsewhere]
  --cache DIR        folder for built graphs (VQD_CACHE)                       [.vqd/cache]
  -h, --help         this text
`;

export const build: Command = {
  summary: "build a checkpoint's graphs ahead of time",
  help,
  options: stringOptions("provider", "quantization", "cache"),
  async run(positionals, values) {
    const [folder] = readArguments(positionals, USAGE, ["FOLDER"]);
    const provider = readProvider(values);
    const given = {
      quantization: values["quantization"] ?? (process.env["VQD_QUANTIZATION"] || undefined),
    };
    const quantization = choiceOption(given, "quantization", QUANTIZATIONS) ?? defaultQuantization(provider);
    const { cacheDir } = readRuntime(values);
    const checkpoint = new DiffusersCheckpoint(folder);
    const form = modelForm(checkpoint.prompts.kind, provider, quantization);
    const version = checkpoint.version(new DigestCache(cacheDir));
    process.stdout.write(`${ensureGraphs(checkpoint, version, { cacheDir, form })}\n`);
  },
};
