// The tiny model of the fixtures with other tokenizers, as transformers wrote them (test/fixtures/tokenizer/make.py).

import { cpSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import {
  type PlannedTensor,
  writeSafetensors,
} from "../../../gpu-worker/checkpoint/weights/safetensors-writer.ts";
import { tokenizerFolder } from "../../support/tokenizers.ts";
import { TINY_MODEL } from "./stack.ts";

const EMBEDDING = "text_model.embeddings.token_embedding.weight";

type Json = Record<string, unknown>;
const edit = (path: string, change: Json): void =>
  writeFileSync(path, JSON.stringify({ ...(JSON.parse(readFileSync(path, "utf8")) as Json), ...change }));

/** Writes the model with the tokenizer `fixture` to `dir`, and returns that; the text encoder gets `vocabularySize` ids. */
export async function writeTokenizerModel(
  dir: string,
  fixture: string,
  vocabularySize: number,
): Promise<string> {
  cpSync(TINY_MODEL, dir, { recursive: true });
  const tokenizer = join(dir, "tokenizer");
  rmSync(tokenizer, { recursive: true });
  cpSync(join(await tokenizerFolder(fixture), "tokenizer"), tokenizer, { recursive: true });
  // As long as the model's embeddings of an empty prompt.
  edit(join(tokenizer, "tokenizer_config.json"), { model_max_length: 77 });
  edit(join(dir, "text_encoder", "config.json"), { vocab_size: vocabularySize });
  resizeEmbedding(join(dir, "text_encoder", "model.safetensors"), vocabularySize);
  return dir;
}

/** Like transformers' resize_token_embeddings: new rows are a copy of the first ones. */
function resizeEmbedding(path: string, rows: number): void {
  const file = readFileSync(path);
  const start = 8 + Number(file.readBigUInt64LE(0));
  const header = JSON.parse(file.toString("utf8", 8, start)) as Record<
    string,
    Omit<PlannedTensor, "name"> & { data_offsets: [number, number] }
  >;
  const tensors = Object.entries(header)
    .filter(([name]) => name !== "__metadata__")
    .map(
      ([
        name,
        {
          dtype,
          shape,
          data_offsets: [begin, end],
        },
      ]) => {
        const bytes = file.subarray(start + begin, start + end);
        if (name !== EMBEDDING) return { name, dtype, shape, bytes };
        const [oldRows = 0, width = 0] = shape;
        const wanted = (bytes.length / oldRows) * rows;
        return {
          name,
          dtype,
          shape: [rows, width],
          bytes: Buffer.concat([bytes, bytes], Math.max(wanted, bytes.length)).subarray(0, wanted),
        };
      },
    );
  rmSync(path);
  writeSafetensors(path, tensors, ({ bytes }) => new Uint8Array(bytes));
}
