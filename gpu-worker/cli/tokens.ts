// Tokens in files: as shared/editing/tokens-file.ts describes them, or as JSON.

import { readFileSync } from "node:fs";
import { extname } from "node:path";
import { decodeTokensFile, encodeTokensFile } from "@vqd/shared/editing/tokens-file.ts";
import { VqdError } from "@vqd/shared/errors.ts";
import { z } from "zod";
import type { PipelineInfo } from "../pipeline/pipeline.ts";
import { UsageError } from "./command.ts";

export const TOKENS_ENDING = ".vqt";
const JSON_ENDING = ".json";

const jsonSchema = z.object({
  version: z.string(),
  width: z.int(),
  height: z.int(),
  tokens: z.array(z.int().min(0).max(0xffff)),
});

/** The file of this name: JSON if it ends in .json. Throws a UsageError for an ending that is neither. */
export function tokensFileOf(path: string, tokens: Uint16Array, info: PipelineInfo): Uint8Array | string {
  const { name: model, version, latentWidth: width, latentHeight: height } = info;
  checkEnding(path);
  if (extname(path).toLowerCase() === TOKENS_ENDING) {
    return encodeTokensFile({ version, width, height, tokens }, info.numEmbeddings + 1);
  }
  return `${JSON.stringify({ model, version, width, height, tokens: [...tokens] })}\n`;
}

export function checkEnding(path: string): void {
  const ending = extname(path).toLowerCase();
  if (ending === TOKENS_ENDING || ending === JSON_ENDING) return;
  throw new UsageError(`${path}: tokens are written to files that end in ${TOKENS_ENDING} or ${JSON_ENDING}`);
}

/** The tokens of a file, which must be the model's. Throws a UsageError that names the file. */
export function readTokens(path: string, { version, latentWidth, latentHeight }: PipelineInfo): Uint16Array {
  const file = parse(path);
  if (file.version !== version) {
    throw new UsageError(
      `${path}: is of model version ${file.version.slice(0, 12)}, not ${version.slice(0, 12)}`,
    );
  }
  if (
    file.width !== latentWidth ||
    file.height !== latentHeight ||
    file.tokens.length !== latentWidth * latentHeight
  ) {
    throw new UsageError(`${path}: has other than ${latentHeight} rows of ${latentWidth} tokens`);
  }
  return Uint16Array.from(file.tokens);
}

function parse(path: string): z.infer<typeof jsonSchema> | ReturnType<typeof decodeTokensFile> {
  let bytes: Uint8Array;
  try {
    bytes = readFileSync(path);
  } catch (error) {
    throw new UsageError(`${path}: ${error instanceof Error ? error.message : "cannot be read"}`, {
      cause: error,
    });
  }
  try {
    if (extname(path).toLowerCase() === JSON_ENDING)
      return jsonSchema.parse(JSON.parse(new TextDecoder().decode(bytes)));
    return decodeTokensFile(bytes);
  } catch (error) {
    const reason = error instanceof VqdError ? error.message : "not a file of tokens";
    throw new UsageError(`${path}: ${reason}`, { cause: error });
  }
}
