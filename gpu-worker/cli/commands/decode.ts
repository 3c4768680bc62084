// `vqd decode`: makes the image again that tokens are of.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import { encodeImageFile } from "../../pipeline/image.ts";
import { type Command, readArguments, stringOptions, UsageError } from "../command.ts";
import { loadPipeline, MODEL_HELP, MODEL_OPTIONS } from "../model-options.ts";
import { readTokens } from "../tokens.ts";

const USAGE = "vqd decode TOKENS";

const help = `Usage: ${USAGE} [options]

Decodes the image whose tokens \`vqd encode --tokens\` or \`vqd generate --out FILE.vqt\` has written, .vqt or .json:
the same image as then, bit for bit.

Options:
  --out FILE               decoded image, .png, .webp or .jpg                        [decoded.png]
${MODEL_HELP}  -h, --help               this text
`;

const FORMATS = { ".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg" } as const;

export const decode: Command = {
  summary: "make an image of its tokens again",
  help,
  options: { ...stringOptions("out"), ...MODEL_OPTIONS },
  async run(positionals, values) {
    const [file] = readArguments(positionals, USAGE, ["TOKENS"]);
    const out = resolve(values["out"] ?? "decoded.png");
    const format = FORMATS[extname(out).toLowerCase() as keyof typeof FORMATS];
    if (format === undefined) {
      throw new UsageError(`--out ends in ${JSON.stringify(extname(out))}, not in .png, .webp or .jpg`);
    }
    const pipeline = await loadPipeline(values);
    try {
      const tokens = readTokens(file, pipeline.info);
      if (tokens.some((token) => token >= pipeline.info.numEmbeddings)) {
        throw new UsageError(`${file}: has masked tokens; only finished images can be decoded`);
      }
      const [image] = await pipeline.decode([tokens]);
      if (image === undefined) throw new Error("the decoder returned no image");
      mkdirSync(dirname(out), { recursive: true });
      writeFileSync(out, await encodeImageFile(image, format));
      process.stdout.write(`${out}\n`);
    } finally {
      await pipeline.release();
    }
  },
};
