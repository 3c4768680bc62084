// `vqd convert`: a checkpoint of any weight files as one of safetensors.

import { convertCheckpoint } from "../checkpoint/convert.ts";
import { choiceOption, type Command, readArguments } from "./command.ts";
import { createByteProgress } from "./progress.ts";

const USAGE = "vqd convert SRC DST";

const help = `Usage: ${USAGE} [options]

Writes the checkpoint SRC to the folder DST with one safetensors file per component, tensor by tensor. DST appears
when it is complete.

Options:
  --dtype TYPE     fp32, fp16 or bf16: how weights are stored, the computation is the same   [fp32]
  --variant NAME   prefer weight files of this variant, such as fp16
  --force          replace DST if it is a checkpoint
  -h, --help       this text
`;

const DTYPES = { fp32: "F32", fp16: "F16", bf16: "BF16" } as const;

export const convert: Command = {
  summary: "rewrite a checkpoint as safetensors",
  help,
  options: { dtype: { type: "string" }, variant: { type: "string" }, force: { type: "boolean" } },
  async run(positionals, values, flags) {
    const [source, target] = readArguments(positionals, USAGE, ["SRC", "DST"]);
    const dtype = DTYPES[choiceOption(values, "dtype", ["fp32", "fp16", "bf16"])];
    const progress = createByteProgress(process.stderr, "converting");
    convertCheckpoint(source, target, {
      dtype,
      variant: values["variant"],
      force: flags.has("force"),
      onProgress: progress.update,
    });
    progress.finish();
    process.stdout.write(`${target}\n`);
  },
};
