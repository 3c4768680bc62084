// `vqd convert`: rewrites a checkpoint with any kind of weight files as safetensors.

import { convertCheckpoint } from "../../checkpoint/convert.ts";
import { convertOriginal } from "../../checkpoint/original/convert.ts";
import { CPU_QUANTIZATIONS } from "../../graph/form.ts";
import { choiceOption, type Command, readArguments, stringOptions, UsageError } from "../command.ts";
import { createProgress } from "../progress.ts";

const USAGE = "vqd convert SRC DST";
const ORIGINAL_USAGE = "vqd convert --from original CONFIG.yaml MODEL.pth DST";

const help = `Usage: ${USAGE} [options]
       ${ORIGINAL_USAGE} [options]

Writes the checkpoint SRC to the folder DST, tensor by tensor, with one safetensors file per component. DST appears
only once it is complete.

With --from original, SRC is a model of the original code base, microsoft/VQ-Diffusion: the config that it was trained
with, and its training checkpoint, of which the averaged weights (ema) are taken if it has them. Files that the config
names are looked for in the folders above it.

Options:
  --from LAYOUT    diffusers or original                                                 [diffusers]
  --dtype TYPE     fp32, fp16 or bf16: how weights are stored; it does not change how they compute   [fp32]
  --quantization Q none or int8: int8 stores matrices that are multiplied in int8 that way, with a scale per
                   row; a quarter of the size, readable by vqd only                           [none]
  --variant NAME   prefer weight files of this variant, such as fp16
  --vqgan FILE     original: the VQ model's own file                  [the checkpoint's, or the config's]
  --clip FILE      original: OpenAI's ViT-B-32.pt                                   [the checkpoint's]
  --code-map FILE  original: the map from the VQ model's codes to the model's tokens    [the config's]
  --force          replace DST if it is a checkpoint
  -h, --help       this text
`;

const millions = (count: number): number => Math.round(count / 1e5) / 10;

const DTYPES = { fp32: "F32", fp16: "F16", bf16: "BF16" } as const;

/** Only with this layout of the source. */
const ONLY_WITH = {
  variant: "diffusers",
  vqgan: "original",
  clip: "original",
  "code-map": "original",
} as const;

export const convert: Command = {
  summary: "rewrite a checkpoint as safetensors",
  help,
  options: {
    ...stringOptions("from", "dtype", "quantization", "variant", "vqgan", "clip", "code-map"),
    force: { type: "boolean" },
  },
  async run(positionals, values, flags) {
    const from = choiceOption(values, "from", ["diffusers", "original"]) ?? "diffusers";
    for (const [name, layout] of Object.entries(ONLY_WITH)) {
      if (values[name] !== undefined && layout !== from) {
        throw new UsageError(`--${name} has an effect with --from ${layout} only`);
      }
    }
    const dtype = DTYPES[choiceOption(values, "dtype", ["fp32", "fp16", "bf16"]) ?? "fp32"];
    const progress = createProgress(process.stderr, "converting", "M parameters");
    const options = {
      dtype,
      quantization: choiceOption(values, "quantization", CPU_QUANTIZATIONS) ?? "none",
      force: flags.has("force"),
      onProgress: (done: number, total: number) => progress.update(millions(done), millions(total)),
    };
    if (from === "original") {
      const [config, model, target] = readArguments(positionals, ORIGINAL_USAGE, [
        "CONFIG.yaml",
        "MODEL.pth",
        "DST",
      ]);
      const { vqgan, clip, "code-map": codeMap } = values;
      const { isAveraged } = await convertOriginal({ config, model, vqgan, clip, codeMap }, target, options);
      progress.finish();
      if (!isAveraged)
        process.stderr.write("the checkpoint has no averaged weights (ema); took the last ones\n");
      process.stdout.write(`${target}\n`);
      return;
    }
    const [source, target] = readArguments(positionals, USAGE, ["SRC", "DST"]);
    await convertCheckpoint(source, target, { ...options, variant: values["variant"] });
    progress.finish();
    process.stdout.write(`${target}\n`);
  },
};
