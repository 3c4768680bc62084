// `vqd convert`: rewrites a checkpoint with any kind of weight files as safetensors.

import { convertCheckpoint } from "../../checkpoint/convert.ts";
import { CPU_QUANTIZATIONS } from "../../graph/form.ts";
import { choiceOption, type Command, readArguments, stringOptions } from "../command.ts";
import { createProgress } from "../progress.ts";

const USAGE = "vqd convert SRC DST";

const help = `Usage: ${USAGE} [options]

Writes the checkpoint SRC to the folder DST, tensor by tensor, with one safetensors file per component. DST appears
only once it is complete.

Options:
  --dtype TYPE     fp32, fp16 or bf16: how weights are stored; it does not change how they compute   [fp32]
  --quantization Q none or int8: int8 stores matrices that are multiplied in int8 that way, with a scale per
                   row; a quarter of the size, readable by vqd only                           [none]
  --variant NAME   prefer weight files of this variant, such as fp16
  --force          replace DST if it is a checkpoint
  -h, --help       this text
`;

const millions = (count: number): number => Math.round(count / 1e5) / 10;

const DTYPES = { fp32: "F32", fp16: "F16", bf16: "BF16" } as const;

export const convert: Command = {
  summary: "rewrite a checkpoint as safetensors",
  help,
  options: { ...stringOptions("dtype", "quantization", "variant"), force: { type: "boolean" } },
  async run(positionals, values, flags) {
    const [source, target] = readArguments(positionals, USAGE, ["SRC", "DST"]);
    const dtype = DTYPES[choiceOption(values, "dtype", ["fp32", "fp16", "bf16"]) ?? "fp32"];
    const progress = createProgress(process.stderr, "converting", "M parameters");
    const options = {
      dtype,
      quantization: choiceOption(values, "quantization", CPU_QUANTIZATIONS) ?? "none",
      variant: values["variant"],
      force: flags.has("force"),
      onProgress: (done: number, total: number) => progress.update(millions(done), millions(total)),
    };
    await convertCheckpoint(source, target, options);
    progress.finish();
    process.stdout.write(`${target}\n`);
  },
};
