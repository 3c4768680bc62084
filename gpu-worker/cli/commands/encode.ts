// `vqd encode`: passes an image through the VQ model, to codes and back.

import { existsSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { dirname, extname, resolve } from "node:path";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { SourceImage } from "../../pipeline/editing/source-image.ts";
import { encodeImageFile, type RgbImage } from "../../pipeline/image.ts";
import { type Command, readArguments, stringOptions, UsageError } from "../command.ts";
import { loadPipeline, MODEL_HELP, MODEL_OPTIONS } from "../model-options.ts";
import { checkEnding, tokensFileOf } from "../tokens.ts";

const USAGE = "vqd encode IMAGE";

const help = `Usage: ${USAGE} [options]

Crops IMAGE to a square, scales it to the model's size, encodes it to the codes that the model works with, and
decodes them again. Prints how close the result is to the cropped image, in dB (PSNR).

Options:
  --out FILE               decoded image, .png, .webp or .jpg                        [encoded.png]
  --tokens FILE            write the codes, which \`vqd decode\` reads, to a .vqt or .json file
${MODEL_HELP}  -h, --help               this text
`;

const FORMATS = { ".png": "png", ".webp": "webp", ".jpg": "jpeg", ".jpeg": "jpeg" } as const;

export const encode: Command = {
  summary: "encode an image to codes and back",
  help,
  options: { ...stringOptions("out", "tokens"), ...MODEL_OPTIONS },
  async run(positionals, values) {
    const [file] = readArguments(positionals, USAGE, ["IMAGE"]);
    if (!existsSync(file)) throw new UsageError(`${file}: no such file`);
    const out = resolve(values["out"] ?? "encoded.png");
    const format = FORMATS[extname(out).toLowerCase() as keyof typeof FORMATS];
    if (format === undefined) {
      throw new UsageError(`--out ends in ${JSON.stringify(extname(out))}, not in .png, .webp or .jpg`);
    }
    if (values["tokens"] !== undefined) checkEnding(values["tokens"]);
    const pipeline = await loadPipeline(values);
    try {
      const { imageWidth, imageHeight } = pipeline.info;
      const image = await readImage(file, imageWidth, imageHeight);
      const codes = await pipeline.encodeImage(image);
      const [decoded] = await pipeline.decode([codes]);
      if (decoded === undefined) throw new Error("the decoder returned no image");
      writeFile(out, await encodeImageFile(decoded, format));
      process.stdout.write(`${out}\n`);
      if (values["tokens"] !== undefined) {
        const path = resolve(values["tokens"]);
        writeFile(path, tokensFileOf(path, codes, pipeline.info));
        process.stdout.write(`${path}\n`);
      }
      process.stdout.write(`PSNR ${psnr(image.data, decoded.data).toFixed(2)} dB\n`);
    } finally {
      await pipeline.release();
    }
  },
};

/** The centre of the image at the given size, upright, on white where it is transparent. */
async function readImage(file: string, width: number, height: number): Promise<RgbImage> {
  try {
    const image = await SourceImage.open(readFileSync(file), "it");
    return await image.rgb({ width, height });
  } catch (cause) {
    throw new Error(`${file}: not a readable image: ${cause instanceof Error ? cause.message : ""}`, {
      cause,
    });
  }
}

function writeFile(path: string, content: Uint8Array | string): void {
  mkdirSync(dirname(path), { recursive: true });
  writeFileSync(path, content);
}

/** Peak signal-to-noise ratio of two images' bytes, in dB; infinite if they are equal. */
function psnr(a: Uint8Array, b: Uint8Array): number {
  const squares = a.reduce((sum, value, i) => sum + (value - (b[i] ?? outOfBounds())) ** 2, 0);
  return 10 * Math.log10(255 ** 2 / (squares / a.length));
}
