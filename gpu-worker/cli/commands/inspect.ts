// `vqd inspect`: describes a checkpoint folder, and lists everything wrong with it.

import { type Inspection, inspectCheckpoint } from "../../checkpoint/inspect.ts";
import { type Command, readArguments, report } from "../command.ts";
import { formatBytes } from "../progress.ts";

const USAGE = "vqd inspect DIR";

/** Most names on one line. */
const MAX_LISTED = 8;

const help = `Usage: ${USAGE} [options]

Describes a checkpoint in the diffusers layout, and lists everything that is missing or does not match. Exits with 1
if there is anything wrong.

Options:
  --variant NAME   prefer weight files of this variant, such as fp16
  --tensors        also list the name and shape of every tensor
  --json           JSON instead of text
  -h, --help       this text
`;

export const inspect: Command = {
  summary: "describe a checkpoint, and what is wrong with it",
  help,
  options: { variant: { type: "string" }, tensors: { type: "boolean" }, json: { type: "boolean" } },
  async run(positionals, values, flags) {
    const [dir] = readArguments(positionals, USAGE, ["DIR"]);
    const inspection = inspectCheckpoint(dir, values["variant"]);
    const withTensors = flags.has("tensors");
    const said = flags.has("json") ? json(inspection, withTensors) : text(inspection, withTensors);
    report(said);
    const count = inspection.problems.length;
    if (count > 0) throw new Error(`${dir}: ${count} ${count === 1 ? "problem" : "problems"}`);
  },
};

function json(inspection: Inspection, withTensors: boolean): string {
  const components = inspection.components.map(({ tensors, ...component }) => ({
    ...component,
    tensors: withTensors ? tensors : tensors.length,
  }));
  return `${JSON.stringify({ ...inspection, components }, null, 2)}\n`;
}

function text(inspection: Inspection, withTensors: boolean): string {
  const known = (value: number | null, unit = ""): string => (value === null ? "unknown" : `${value}${unit}`);
  const { imageSize, latentSize } = inspection;
  const lines = [
    inspection.dir,
    `image       ${known(imageSize)} x ${known(imageSize)} pixels from ${known(latentSize)} x ${known(latentSize)} codes`,
    `codes       ${known(inspection.codes)}`,
    `timesteps   ${known(inspection.timesteps)}`,
    `layers      ${known(inspection.layers)}`,
    ...prompts(inspection),
    ...inspection.extensions.map((extension) => `extension   ${extension}`),
    "",
  ];
  for (const { component, file, bytes, dtypes, tensors, parameters, unused } of inspection.components) {
    if (file === null) {
      lines.push(`${component}: no weights`);
      continue;
    }
    const size = `${tensors.length} tensors, ${parameters.toLocaleString("en")} parameters`;
    lines.push(`${file}: ${size}, ${dtypes.join(" and ") || "no floats"}, ${formatBytes(bytes)}`);
    if (unused.length > 0) lines.push(`  unused: ${listed(unused)}`);
    if (withTensors) {
      lines.push(...tensors.map(({ name, dtype, shape }) => `  ${name} ${dtype} [${shape.join(", ")}]`));
    }
  }
  const { problems } = inspection;
  const count = problems.length === 1 ? "1 problem:" : `${problems.length} problems:`;
  lines.push("", problems.length === 0 ? "no problems" : count, ...problems);
  return `${lines.join("\n")}\n`;
}

function prompts(inspection: Inspection): string[] {
  const { conditioning, classes, namedClasses, textLength, addedTokens } = inspection;
  switch (conditioning) {
    case "class":
      return [`prompt      the label of one of ${classes} classes, ${namedClasses} of them with names`];
    case "none":
      return ["prompt      none"];
    default: {
      const length = textLength === null ? "unknown" : `${textLength} tokens`;
      return [
        `prompt      ${length}, unconditional: ${unconditional(inspection)}`,
        `added       ${listed(addedTokens)}`,
      ];
    }
  }
}

/** The first of many names and the number of the others; `--json` lists all. */
function listed(names: readonly string[]): string {
  const first = names.slice(0, MAX_LISTED).join(", ");
  return names.length <= MAX_LISTED ? first : `${first} and ${names.length - MAX_LISTED} more`;
}

function unconditional({ learnableUnconditional: learnable }: Inspection): string {
  if (learnable === null) return "unknown";
  return learnable ? "learned embeddings" : "the empty prompt";
}
