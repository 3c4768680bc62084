// `vqd parity`: checks that this build, on this provider, matches the reference.

import { BUNDLED_MODEL } from "../../config.ts";
import { QUANTIZATIONS } from "../../graph/form.ts";
import { runParity } from "../../parity/parity.ts";
import { readProvider, readRuntime } from "../model-options.ts";
import { choiceOption, type Command, stringOptions, UsageError } from "../command.ts";

const help = `Usage: vqd parity --vectors FILE [options]

Runs every stage of the pipeline, and whole runs, on recorded inputs and noise, and prints as JSON how far the results
are from the recorded ones. Exits with 0 if everything is within its limits, else with 1.

Options:
  --vectors FILE           recorded vectors: NAME.json or NAME.safetensors, the other beside it
  --checkpoint DIR         checkpoint they were recorded with                   [the bundled one]
  --runs NAME,...          recorded runs to repeat                                         [all]
  --quantization Q         none, or with wider limits int8, fp16, w8a16 or w4a16           [none]
  --provider NAME          cpu, webgpu or cuda (VQD_PROVIDER)                               [cpu]
  --threads N              threads of the CPU provider (VQD_THREADS)                  [all cores]
  --cache DIR              folder for built graphs (VQD_CACHE)                       [.vqd/cache]
  -h, --help               this text
`;

export const parity: Command = {
  summary: "compare with the reference's recorded results",
  help,
  options: stringOptions("vectors", "checkpoint", "runs", "quantization", "provider", "threads", "cache"),
  async run(positionals, values) {
    if (positionals.length > 0) throw new UsageError(`unexpected argument ${JSON.stringify(positionals[0])}`);
    const { vectors } = values;
    if (vectors === undefined) throw new UsageError("give --vectors FILE");
    const report = await runParity({
      vectors,
      checkpoint: values["checkpoint"] ?? BUNDLED_MODEL,
      runs: values["runs"]?.split(","),
      quantization: choiceOption(values, "quantization", QUANTIZATIONS) ?? "none",
      provider: readProvider(values),
      ...readRuntime(values),
      onStage: (name) => process.stderr.isTTY && process.stderr.write(`\r${name}\u001B[K`),
    });
    if (process.stderr.isTTY) process.stderr.write("\r\u001B[K");
    process.stdout.write(`${JSON.stringify(report, null, 2)}\n`);
    if (!report.pass) process.exitCode = 1;
  },
};
