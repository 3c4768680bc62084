// Runs each stage of the pipeline on recorded inputs, and compares with the reference's results.

import { z } from "zod";
import type { DiffusersCheckpoint } from "../checkpoint/diffusers-layout.ts";
import { CheckpointError } from "../checkpoint/errors.ts";
import { createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { guidedProbabilities } from "../pipeline/sampling/guidance.ts";
import { toRgbImage } from "../pipeline/image.ts";
import type { PromptConditioning } from "../pipeline/conditioning/prompt-conditioning.ts";
import { TextConditioner } from "../pipeline/conditioning/text-conditioner.ts";
import type { LoadedModel } from "../pipeline/loaded-model.ts";
import { gumbelArgmax, type VQDiffusionScheduler } from "../pipeline/sampling/scheduler.ts";
import { clampProbabilities, MIN_LOG_PROB } from "../pipeline/sampling/pixel-view.ts";
import { truncatePixel } from "../pipeline/sampling/truncate.ts";
import { Differences, Equalities, isEqual, maxDifference, pixelsFirst, type StageResult } from "./compare.ts";
import type { Limits } from "./limits.ts";
import type { VectorSet } from "./vectors.ts";

export interface StageContext {
  readonly checkpoint: DiffusersCheckpoint;
  readonly model: LoadedModel;
  readonly scheduler: VQDiffusionScheduler;
  readonly vectors: VectorSet;
  readonly limits: Limits;
}

/** null if the set's tensors do not suffice for a form of the model. */
type Stage = (context: StageContext) => StageResult | null | Promise<StageResult | null>;

const numbers = z.array(z.number());
/** The i and j of "transformer.logp[i, j]". */
const indexPair = z.string().transform((reference, context): [number, number] => {
  const [, i, j] = /\[(\d+), *(\d+)\]$/.exec(reference) ?? [];
  if (i === undefined || j === undefined)
    context.addIssue("must name a part, such as transformer.logp[1, 1]");
  return [Number(i), Number(j)];
});
const clamped = (logProb: number): number => Math.max(logProb, MIN_LOG_PROB);
const clampedLog = (probability: number): number => clamped(Math.log(probability));
const range = (length: number): number[] => Array.from({ length }, (_, i) => i);
const tokensOf = (data: ArrayLike<number>): Uint16Array => Uint16Array.from(data);
/** At rate 1 the reference drops classes because its running sum is rounded: less likely ones than this are not compared. */
const ROUNDING_MASS = 1e-6;

/** Ids of the current transformers, with whose tokenizer diffusers' pipeline reads prompts; openai/CLIP's differ by `!`. */
export const TOKEN_IDS = "tokens.hf.tf5.17.0";

const tokens: Stage = ({ checkpoint, vectors }) => {
  const result = new Equalities();
  const { tables, maxLength, padTokenId } = checkpoint.tokenizer;
  // Transformers 5 does not repair damaged text.
  const tokenizer = createClipTokenizer(tables, { mend: false });
  for (const [i, name] of vectors.input(TOKEN_IDS, "prompts", z.array(z.string())).entries()) {
    const { ids } = tokenizer.encodePadded(vectors.prompt(name), { maxLength, padTokenId });
    result.add(name, isEqual(ids, vectors.get(TOKEN_IDS, i).data));
  }
  return result.result;
};

/** Ids of openai/CLIP's own tokenizer, which the original code base reads prompts with. */
const OPENAI_TOKEN_IDS = "tokens.openai";

const openaiTokens: Stage = ({ model, vectors }) => {
  const result = new Equalities();
  for (const [i, name] of vectors.input(OPENAI_TOKEN_IDS, "prompts", z.array(z.string())).entries()) {
    const { ids } = model.tokenize(vectors.prompt(name));
    result.add(name, isEqual(ids, vectors.get(OPENAI_TOKEN_IDS, i).data));
  }
  return result.result;
};

/** Throws a CheckpointError for a model that is not conditioned by text: the vectors are another model's. */
function textConditioner({ conditioner }: LoadedModel, { path }: VectorSet): TextConditioner {
  if (conditioner instanceof TextConditioner) return conditioner;
  throw new CheckpointError(path, "holds texts, but the checkpoint is not conditioned by text");
}

const text: Stage = async ({ model, vectors, limits }) => {
  const result = new Differences(limits.text);
  for (const i of range(vectors.get("text.ids").shape[0] ?? outOfBounds())) {
    const embeddings = await textConditioner(model, vectors).embed([...vectors.get("text.ids", i).data]);
    result.add(`text.embeds[${i}]`, embeddings, vectors.get("text.embeds", i).data);
  }
  return result.result;
};

/**
 * The conditioning that the transformer's results were recorded with: of a text, a class, or nothing. A graph that takes token
 * ids can only be compared if they are those of the first text; undefined if not.
 */
async function recordedPrompt(
  model: LoadedModel,
  vectors: VectorSet,
): Promise<PromptConditioning | undefined> {
  if (vectors.has("transformer.class")) {
    return (await model.conditioner.encode([[...vectors.get("transformer.class").data]]))[0];
  }
  if (!vectors.has("transformer.cond")) return model.conditioner.unconditional;
  const conditioner = textConditioner(model, vectors);
  const { data } = vectors.get("transformer.cond");
  if (conditioner.takesEmbeddings) return conditioner.condition(Float32Array.from(data));
  if (!vectors.has("text.ids", "text.embeds")) return undefined;
  if (!isEqual(data, vectors.get("text.embeds", 0).data)) return undefined;
  const [prompt] = await conditioner.encode([[...vectors.get("text.ids", 0).data]]);
  return prompt;
}

const transformer: Stage = async ({ model, vectors, limits }) => {
  const result = new Differences(limits.transformer);
  const prompt = await recordedPrompt(model, vectors);
  if (prompt === undefined) return null;
  const latents = range(vectors.get("transformer.latents").shape[0] ?? outOfBounds());
  for (const [i, t] of vectors.input("transformer.logp", "timesteps", numbers).entries()) {
    for (const j of latents) {
      const row = tokensOf(vectors.get("transformer.latents", j).data);
      const logProbs = await model.denoiser.predict([row], [t], [prompt]);
      const expected = vectors.get("transformer.logp", i, j).data;
      result.add(`transformer.logp[${i}, ${j}]`, logProbs, pixelsFirst(expected, model.info.numEmbeddings));
    }
  }
  return result.result;
};

/** The model's own unconditional embedding, through the transformer's output for it. */
const unconditional: Stage = async ({ model, vectors, limits }) => {
  const result = new Differences(limits.transformer);
  // The unconditional half was recorded at the same timestep, from the same latents.
  const [i, j] = vectors.input("guidance.out", "cond", indexPair);
  const t = vectors.input("transformer.logp", "timesteps", numbers)[i];
  if (t === undefined)
    throw new CheckpointError(vectors.path, `tensor transformer.logp has no part [${i}, ${j}]`);
  const row = tokensOf(vectors.get("transformer.latents", j).data);
  const logProbs = await model.denoiser.predict([row], [t], [model.conditioner.unconditional]);
  const expected = pixelsFirst(vectors.get("guidance.uncond").data, model.info.numEmbeddings);
  result.add("guidance.uncond", logProbs, expected);
  return result.result;
};

const guidance: Stage = ({ model, vectors, limits }) => {
  const result = new Differences(limits.guidance);
  const classes = model.info.numEmbeddings;
  const half = (name: string): Float32Array =>
    Float32Array.from(
      pixelsFirst(vectors.get(vectors.input("guidance.out", name, z.string())).data, classes),
    );
  const [cond, uncond] = [half("cond"), half("uncond")];
  const row = new Float64Array(classes);
  for (const [i, scale] of vectors.input("guidance.out", "scales", numbers).entries()) {
    const found = new Float64Array(cond.length);
    for (let offset = 0; offset < cond.length; offset += classes) {
      guidedProbabilities(row, { logProbs: cond, offset }, { logProbs: uncond, offset }, scale);
      // As the sampler does, and as the original code base recorded them; diffusers has them unclamped.
      found.set(row.map(clampedLog), offset);
    }
    const recorded = pixelsFirst(vectors.get("guidance.out", i).data, classes);
    result.add(`guidance.out[${i}]`, found, recorded.map(clamped));
  }
  return result.result;
};

const truncation: Stage = ({ model, vectors }) => {
  const result = new Equalities();
  const classes = model.info.numEmbeddings;
  const scratch = new Float64Array(classes);
  const kept = new Uint8Array(classes);
  for (const name of vectors.names.filter((candidate) => candidate.startsWith("truncate.kept_"))) {
    const rate = vectors.input(name, "rate", z.number());
    for (const i of range(vectors.get(name).shape[0] ?? outOfBounds())) {
      const input = pixelsFirst(vectors.get("truncate.input", i).data, classes);
      const expected = pixelsFirst(vectors.get(name, i).data, classes);
      for (let offset = 0; offset < input.length; offset += classes) {
        const probabilities = input.slice(offset, offset + classes).map(Math.exp);
        truncatePixel(probabilities, rate, scratch, kept);
        const isSame = kept.every(
          (keep, k) =>
            keep === expected[offset + k] ||
            (rate >= 1 && (probabilities[k] ?? outOfBounds()) <= ROUNDING_MASS),
        );
        result.add(`${name}[${i}] pixel ${offset / classes}`, isSame);
      }
    }
  }
  if (vectors.has("truncate.tie_input", "truncate.tie_kept")) {
    const probabilities = Float64Array.from(vectors.get("truncate.tie_input").data, Math.exp);
    for (const [i, rate] of vectors.input("truncate.tie_kept", "rates", numbers).entries()) {
      const keptTies = new Uint8Array(probabilities.length);
      truncatePixel(probabilities, rate, new Float64Array(probabilities.length), keptTies);
      result.add(`truncate.tie_kept[${i}]`, isEqual(keptTies, vectors.get("truncate.tie_kept", i).data));
    }
  }
  return result.result;
};

const tables: Stage = ({ scheduler, vectors, limits }) => {
  const result = new Differences(limits.tables);
  const { a, b, c, cumA, cumB, cumC } = scheduler.tables;
  const all = { at: a, bt: b, ct: c, cumprod_at: cumA, cumprod_bt: cumB, cumprod_ct: cumC };
  for (const [suffix, table] of Object.entries(all)) {
    const name = `scheduler.log_${suffix}`;
    if (!vectors.has(name)) continue;
    const { data } = vectors.get(name);
    // The logarithm of zero: -inf in the reference, and here of whatever rounding makes of 0.
    const logs = Array.from(table, (value, t) =>
      Number.isFinite(data[t]) || value > 1e-12 ? Math.fround(Math.log(value)) : -1000,
    );
    result.add(
      name,
      logs,
      Array.from(data, (log) => (Number.isFinite(log) ? log : -1000)),
    );
  }
  return result.result;
};

const posterior: Stage = ({ model, scheduler, vectors, limits }) => {
  const result = new Differences(limits.posterior);
  const classes = model.info.numEmbeddings;
  const row = new Float64Array(classes + 1);
  for (const [i, t] of vectors.input("posterior.out", "timesteps", numbers).entries()) {
    for (const j of range(vectors.get("posterior.x_t").shape[0] ?? outOfBounds())) {
      const current = vectors.get("posterior.x_t", j).data;
      const logProbs = pixelsFirst(vectors.get("posterior.log_p_x0", j).data, classes);
      const found = new Float64Array(current.length * (classes + 1));
      for (const pixel of range(current.length)) {
        const probabilities = logProbs.slice(pixel * classes, (pixel + 1) * classes).map(Math.exp);
        clampProbabilities(probabilities);
        scheduler.posterior(probabilities, current[pixel] ?? outOfBounds(), { t, s: t - 1 }, row);
        found.set(row.map(Math.log), pixel * (classes + 1));
      }
      const expected = pixelsFirst(vectors.get("posterior.out", i, j).data, classes + 1);
      result.add(`posterior.out[${i}, ${j}]`, found, expected);
    }
  }
  return result.result;
};

const gumbel: Stage = ({ vectors }) => {
  const result = new Equalities();
  const size = vectors.get("gumbel.uniform").shape[0] ?? outOfBounds();
  const logits = vectors.get(vectors.input("gumbel.noised", "logits", z.string())).data;
  const weights = pixelsFirst(logits, size).map(Math.exp);
  const uniforms = pixelsFirst(vectors.get("gumbel.uniform").data, size);
  for (const [pixel, expected] of [...vectors.get("gumbel.argmax").data].entries()) {
    const [begin, end] = [pixel * size, (pixel + 1) * size];
    const drawn = gumbelArgmax(weights.subarray(begin, end), uniforms.subarray(begin, end));
    result.add(`pixel ${pixel}`, drawn === expected);
  }
  return result.result;
};

const vqDecode: Stage = async ({ model, vectors, limits }) => {
  const result = new Differences(limits.vqDecode);
  for (const i of range(vectors.get("vq.decode.codes").shape[0] ?? outOfBounds())) {
    const planes = await model.vqModel.decodePlanes(tokensOf(vectors.get("vq.decode.codes", i).data));
    result.add(`vq.decode.sample[${i}]`, planes, vectors.get("vq.decode.sample", i).data);
  }
  return result.result;
};

const vqDecodeImage: Stage = async ({ model, vectors, limits }) => {
  const result = new Differences(limits.imageLevels);
  const { imageWidth, imageHeight } = model.info;
  for (const i of range(vectors.get("vq.decode.codes").shape[0] ?? outOfBounds())) {
    const planes = await model.vqModel.decodePlanes(tokensOf(vectors.get("vq.decode.codes", i).data));
    const { data } = toRgbImage(planes, imageWidth, imageHeight);
    result.add(`vq.decode.image_u8[${i}]`, data, vectors.get("vq.decode.image_u8", i).data);
  }
  return result.result;
};

const vqEncode: Stage = async ({ model, vectors }) => {
  const result = new Equalities();
  for (const i of range(vectors.get("vq.encode.image_u8").shape[0] ?? outOfBounds())) {
    const { shape, data } = vectors.get("vq.encode.image_u8", i);
    const [height = outOfBounds(), width = outOfBounds()] = shape;
    const codes = await model.vqModel.encode({ width, height, data: Uint8Array.from(data) });
    result.add(`vq.encode.codes[${i}]`, maxDifference(codes, vectors.get("vq.encode.codes", i).data) === 0);
  }
  return result.result;
};

/** The stages by name, each with the tensors that it requires. */
export const STAGES: Readonly<Record<string, { readonly needs: readonly string[]; readonly run: Stage }>> = {
  tokens: { needs: [TOKEN_IDS], run: tokens },
  openai_tokens: { needs: [OPENAI_TOKEN_IDS], run: openaiTokens },
  text: { needs: ["text.ids", "text.embeds"], run: text },
  transformer: { needs: ["transformer.latents", "transformer.logp"], run: transformer },
  unconditional: {
    needs: ["guidance.uncond", "guidance.out", "transformer.latents", "transformer.logp"],
    run: unconditional,
  },
  guidance: { needs: ["guidance.out", "guidance.uncond"], run: guidance },
  truncation: { needs: ["truncate.input"], run: truncation },
  tables: { needs: ["scheduler.log_cumprod_at"], run: tables },
  posterior: { needs: ["posterior.x_t", "posterior.log_p_x0", "posterior.out"], run: posterior },
  gumbel: { needs: ["gumbel.uniform", "gumbel.argmax"], run: gumbel },
  vq_decode: { needs: ["vq.decode.codes", "vq.decode.sample"], run: vqDecode },
  vq_decode_image: { needs: ["vq.decode.codes", "vq.decode.image_u8"], run: vqDecodeImage },
  vq_encode: { needs: ["vq.encode.image_u8", "vq.encode.codes"], run: vqEncode },
};
