// Writes a checkpoint of the size of the published one (microsoft/vq-diffusion-ithq), with random weights.

import { existsSync } from "node:fs";
import { resolve } from "node:path";
import { parseArgs } from "node:util";
import { FORMATS, writePublishedShape } from "./published-shape.ts";

const HELP = `Usage: node_modules/.bin/node test/bench/ithq-checkpoint.ts DIR [options]

  --layers N        of the transformer            [36]
  --format FORMAT   bin, fp16-bin or safetensors  [bin]
  -h, --help        this text

With all layers: 5.4 GB as bin or safetensors, half of that as fp16-bin.
`;

const { values, positionals } = parseArgs({
  options: {
    layers: { type: "string", default: "36" },
    format: { type: "string", default: "bin" },
    help: { type: "boolean", short: "h", default: false },
  },
  allowPositionals: true,
});
const [dir] = positionals;
const layers = Number(values.layers);
const format = FORMATS.find((known) => known === values.format);
if (values.help) {
  process.stdout.write(HELP);
} else if (dir === undefined || !(Number.isInteger(layers) && layers > 0) || format === undefined) {
  process.stderr.write(HELP);
  process.exitCode = 2;
} else if (existsSync(dir)) {
  process.stderr.write(`${dir} is there already\n`);
  process.exitCode = 1;
} else {
  writePublishedShape(resolve(dir), layers, format, (line) => process.stdout.write(`${line}\n`));
}
