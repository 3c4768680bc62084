// `vqd generate`: text to image in this process, without a server.

import { mkdirSync, writeFileSync } from "node:fs";
import { dirname, extname, join, resolve } from "node:path";
import { ORDERS, PRIOR_RULES, SCHEDULERS } from "@vqd/shared/job.ts";
import {
  MAX_GUIDANCE_SCALE,
  MAX_IMAGES,
  MAX_PRIOR_WEIGHT,
  MAX_PROMPT_CHARS,
  MAX_TEMPERATURE,
  MAX_TIMESTEPS,
  MIN_GUIDANCE_SCALE,
  MIN_TEMPERATURE,
} from "@vqd/shared/limits.ts";
import { MAX_CLASSES } from "@vqd/shared/tokenizer/announcement.ts";
import { PRESET_NAMES } from "@vqd/shared/sampling/preset-names.ts";
import { MAX_INFER_SPEED, MIN_INFER_SPEED, originalRun } from "@vqd/shared/sampling/original.ts";
import { PRESETS, type PresetSettings } from "@vqd/shared/sampling/presets.ts";
import {
  completeSampler,
  negativePromptConflict,
  samplerConflict,
  type SamplerSettings,
} from "@vqd/shared/sampling/sampler.ts";
import { withSettings } from "@vqd/shared/metadata/settings.ts";
import { encodeTokensFile } from "@vqd/shared/editing/tokens-file.ts";
import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { parseSeed, SEED_RANGE, toJsonSeed } from "@vqd/shared/sampling/seed.ts";
import type { CallOptions } from "../../pipeline/call.ts";
import { placeOfSeed } from "@vqd/shared/sampling/seed.ts";
import { encodeImageFile } from "../../pipeline/image.ts";
import type { PipelineInfo, VQDiffusionPipeline } from "../../pipeline/pipeline.ts";
import { defaultModelName } from "../../serving/manifest.ts";
import { choiceOption, type Command, numberOption, stringOptions, UsageError } from "../command.ts";
import { loadPipeline, MODEL_HELP, MODEL_OPTIONS } from "../model-options.ts";
import { readReceipts, RECEIPT_HELP, RECEIPT_OPTIONS } from "../receipt-options.ts";
import { readSource, SOURCE_HELP, SOURCE_OPTIONS } from "../source-options.ts";
import { TOKENS_ENDING } from "../tokens.ts";
import { createProgress } from "../progress.ts";

const help = `Usage: vqd generate PROMPT [options]

Generates images of PROMPT with a VQ-Diffusion checkpoint, in this process. For a model that is conditioned by class, it
is a class's name or label; a model that is not conditioned takes none.

Options:
  --class-label N          the label of a class, instead of PROMPT, for a model that is conditioned by class
  --out FILE               output file; several images get -0, -1, ... before the extension [image.png]
  --seed N                 the same seed makes the same image, 0 to 2^64 - 1 [random, as with -1]
  --seeds N,N,...          one seed per image, instead of --seed
  --preset NAME            draft, fast, best or reference: sets the steps and the sampler  [best]
  --steps N                denoising steps, at most the model's training timesteps [the preset's]
  --guidance-scale G       weight of the prompt, 0 to ${MAX_GUIDANCE_SCALE}; none up to 1          [the model's]
  --truncation-rate R      keep the likeliest classes up to this total probability, at most 1 [1]
  --temperature T          below 1 favours likely classes, ${MIN_TEMPERATURE} to ${MAX_TEMPERATURE}             [the preset's]
  --scheduler NAME         reference, or strided: few steps over the whole process, or original, as
                           the original code base                               [the preset's]
  --infer-speed X          of the scheduler original, ${MIN_INFER_SPEED} to ${MAX_INFER_SPEED}, instead of --steps: from 2 on
                           timesteps are skipped, below 1 each has several passes                [1]
  --order NAME             pixels unmasked first: posterior, confidence or halton  [the preset's]
  --remasking R            share of the drawn pixels that a step masks again, 0 to 1 [the preset's]
  --prior-rule N           purity sampling, with the order posterior: 0 (off), 1 (surest pixels
                           first), 2 (also sharpened)                                         [0]
  --prior-weight R         how much rule 2 sharpens, 0 to ${MAX_PRIOR_WEIGHT}                                  [0]
  --negative-prompt TEXT   what to steer away from, with a guidance scale above 1
  --prompt-too-long WHAT   truncate a prompt longer than the model's limit, or error [truncate]
  --num-images N           images to generate, 1 to ${MAX_IMAGES}                                        [1]
${SOURCE_HELP}  --format FORMAT          png, webp, jpeg (or jpg) or tokens (.vqt), which \`vqd decode\` makes an
                           image of                                   [by the extension of --out]
${RECEIPT_HELP}  --no-settings            PNG files without the prompt and the settings they were made with
${MODEL_HELP}  -h, --help               this text
`;

const FORMAT_BY_ENDING = {
  ".png": "png",
  ".webp": "webp",
  ".jpg": "jpeg",
  ".jpeg": "jpeg",
  [TOKENS_ENDING]: "tokens",
} as const;

const OPTIONS = [
  "class-label",
  "out",
  "seed",
  "seeds",
  "preset",
  "steps",
  "guidance-scale",
  "truncation-rate",
  "temperature",
  "scheduler",
  "infer-speed",
  "order",
  "remasking",
  "prior-rule",
  "prior-weight",
  "negative-prompt",
  "prompt-too-long",
  "num-images",
  "format",
  ...RECEIPT_OPTIONS,
  ...SOURCE_OPTIONS,
] as const;

export const generate: Command = {
  summary: "generate images from a prompt",
  help,
  options: { ...stringOptions(...OPTIONS), "no-settings": { type: "boolean" }, ...MODEL_OPTIONS },
  async run(positionals, values, flags) {
    const label = numberOption(values, "class-label", { min: 0, max: MAX_CLASSES - 1, integer: true });
    const prompt = readPrompt(label === undefined ? positionals : withLabel(positionals, label));
    const out = resolve(values["out"] ?? "image.png");
    const format = readFormat(values, out);
    const settings = {
      guidanceScale: numberOption(values, "guidance-scale", {
        min: 0,
        max: MAX_GUIDANCE_SCALE,
      }),
      truncationRate: numberOption(values, "truncation-rate", { min: Number.MIN_VALUE, max: 1 }),
      numImagesPerPrompt: numberOption(values, "num-images", { min: 1, max: MAX_IMAGES, integer: true }),
      ...readSeeds(values),
    };
    const whenTooLong = choiceOption(values, "prompt-too-long", ["truncate", "error"]);
    const preset = PRESETS[choiceOption(values, "preset", PRESET_NAMES) ?? "best"];
    const sampler = readSampler(values, preset);
    const source = readSource(values);
    const receipts = readReceipts(values);
    const steps = numberOption(values, "steps", { min: 1, max: MAX_TIMESTEPS, integer: true });
    const negativePrompt = values["negative-prompt"]?.trim() ? values["negative-prompt"] : undefined;
    // If the folder cannot be created, say so before the work rather than after it.
    mkdirSync(dirname(out), { recursive: true });
    const pipeline = await loadPipeline(values);
    try {
      if (label !== undefined && pipeline.info.conditioning !== "class")
        throw new UsageError("--class-label is for models that are conditioned by class");
      if (prompt.trim() === "" && pipeline.info.conditioning !== "none") {
        throw new UsageError("give a prompt: vqd generate PROMPT");
      }
      const { info } = pipeline;
      const guidanceScale = settings.guidanceScale ?? info.defaultGuidanceScale;
      const numInferenceSteps = stepsOf(steps, sampler, preset, info);
      const conflict = negativePrompt && negativePromptConflict(guidanceScale, "--guidance-scale");
      if (conflict) throw new UsageError(`--negative-prompt ${conflict}`);
      checkLength(pipeline, "the prompt", prompt, whenTooLong);
      if (negativePrompt) checkLength(pipeline, "--negative-prompt", negativePrompt, whenTooLong);
      const given = source(info);
      const startedAt = performance.now();
      const progress = createProgress(process.stderr, "denoising");
      const { images, latents, seeds } = await pipeline.call({
        prompt,
        ...given,
        negativePrompt,
        ...settings,
        ...sampler,
        numInferenceSteps,
        outputType: format === "tokens" ? "latents" : "image",
        onStart: receipts?.onStart,
        onStep: (step, total, slots) => {
          progress.update(step, total);
          receipts?.onStep(step, total, slots);
        },
      });
      progress.finish();
      const fileOf = async (index: number): Promise<Uint8Array> => {
        if (format === "tokens") {
          const { version, latentHeight: height, latentWidth: width, numEmbeddings } = info;
          const tokens = latents[index] ?? outOfBounds();
          return encodeTokensFile({ version, height, width, tokens }, numEmbeddings + 1);
        }
        const image = images[index] ?? outOfBounds();
        const file = new Uint8Array(await encodeImageFile(image, format));
        if (flags.has("no-settings")) return file;
        return withSettings(file, {
          ...sampler,
          prompt,
          negativePrompt: negativePrompt ?? null,
          numInferenceSteps,
          guidanceScale: Math.max(guidanceScale, MIN_GUIDANCE_SCALE),
          truncationRate: settings.truncationRate ?? 1,
          strength: given.strength,
          seed: toJsonSeed(seeds[index] ?? outOfBounds()),
          place: placeOfSeed(seeds, index),
          width: image.width,
          height: image.height,
          model: defaultModelName(info.name),
          version: info.version,
        });
      };
      for (const index of latents.keys()) {
        const path = latents.length === 1 ? out : numbered(out, index);
        writeFileSync(path, await fileOf(index));
        process.stdout.write(`${path}\n`);
        if (receipts === undefined) continue;
        const receiptPath = latents.length === 1 ? receipts.path : numbered(receipts.path, index);
        const { inferSpeed, ...others } = sampler;
        const made = {
          ...others,
          ...(sampler.scheduler === "original" ? { inferSpeed } : {}),
          prompt: pipeline.tokenize(prompt).ids,
          negativePrompt: negativePrompt === undefined ? null : pipeline.tokenize(negativePrompt).ids,
          numInferenceSteps,
          guidanceScale,
          truncationRate: settings.truncationRate ?? 1,
          seed: toJsonSeed(seeds[index] ?? outOfBounds()),
        };
        writeFileSync(receiptPath, await receipts.receiptOf(index, made, info));
        process.stdout.write(`${receiptPath}\n`);
      }
      const seconds = (performance.now() - startedAt) / 1000;
      const used = [...new Set(seeds)];
      const named = used.length === 1 ? `seed ${used[0]}` : `seeds ${used.join(",")}`;
      process.stderr.write(`${named}, ${seconds.toFixed(1)} s\n`);
    } finally {
      await pipeline.release();
    }
  },
};

type Values = Readonly<Record<string, string | undefined>>;

const SAMPLER_OPTIONS = {
  scheduler: "scheduler",
  inferSpeed: "infer-speed",
  order: "order",
  remasking: "remasking",
  temperature: "temperature",
  priorRule: "prior-rule",
  priorWeight: "prior-weight",
} as const satisfies Record<keyof SamplerSettings, string>;

/** What the options say of the sampler, and for the rest the preset. Throws a UsageError. */
function readSampler(values: Values, preset: SamplerSettings): SamplerSettings {
  const rule = choiceOption(values, "prior-rule", ["0", "1", "2"]);
  const temperatures = { min: MIN_TEMPERATURE, max: MAX_TEMPERATURE };
  const given = {
    scheduler: choiceOption(values, "scheduler", SCHEDULERS),
    inferSpeed: numberOption(values, "infer-speed", { min: MIN_INFER_SPEED, max: MAX_INFER_SPEED }),
    order: choiceOption(values, "order", ORDERS),
    remasking: numberOption(values, "remasking", { min: 0, max: 1 }),
    temperature: numberOption(values, "temperature", temperatures),
    priorRule: PRIOR_RULES.find((candidate) => String(candidate) === rule),
    priorWeight: numberOption(values, "prior-weight", { min: 0, max: MAX_PRIOR_WEIGHT }),
  };
  const sampler = completeSampler(given, preset);
  const conflict = samplerConflict(sampler, (field) => `--${SAMPLER_OPTIONS[field]}`);
  if (conflict === undefined) return sampler;
  throw new UsageError(`--${SAMPLER_OPTIONS[conflict.field]} ${conflict.reason}`);
}

/** The steps of --steps or of the preset; of the original's sampler those that follow from its speed. Throws a UsageError. */
function stepsOf(
  given: number | undefined,
  sampler: SamplerSettings,
  preset: PresetSettings,
  { numTrainTimesteps: timesteps, latentHeight, latentWidth }: PipelineInfo,
): number {
  if (sampler.scheduler !== "original") return given ?? Math.min(preset.numInferenceSteps, timesteps);
  const steps = originalRun(sampler, { timesteps, pixels: latentHeight * latentWidth }).timesteps.length;
  if (given === undefined || given === steps) return steps;
  throw new UsageError(`--steps must be ${steps} or omitted with --infer-speed ${sampler.inferSpeed}`);
}

/** Says if the model reads only a part of a text, which is called `name`; throws a UsageError if that is to be an error. */
function checkLength(
  pipeline: VQDiffusionPipeline,
  name: string,
  text: string,
  whenTooLong: "truncate" | "error" = "truncate",
): void {
  const { tokenCount, truncated } = pipeline.tokenize(text);
  if (!truncated) return;
  const { textLength } = pipeline.info;
  const said = `${name} has ${tokenCount} tokens; the model reads only the first ${textLength}`;
  if (whenTooLong === "error") throw new UsageError(said);
  process.stderr.write(`${said}\n`);
}

/** Throws a UsageError. */
function readSeeds(values: Values): Pick<CallOptions, "seed" | "seeds"> {
  const { seed, seeds } = values;
  const read = (name: string, text: string): number | bigint => {
    const parsed = parseSeed(text.trim());
    if (parsed !== undefined) return parsed;
    throw new UsageError(`--${name} must be ${SEED_RANGE}, not ${JSON.stringify(text)}`);
  };
  if (seeds === undefined)
    return seed === undefined || seed.trim() === "-1" ? {} : { seed: read("seed", seed) };
  if (seed !== undefined) throw new UsageError("--seeds cannot be given together with --seed");
  const list = seeds.split(",").map((text) => read("seeds", text));
  const images = Number(values["num-images"] ?? 1);
  if (list.length === images) return { seeds: list };
  throw new UsageError(`--seeds must be ${images}, one per image of --num-images, not ${list.length}`);
}

/** The label as a prompt. Throws a UsageError if there is one beside it. */
function withLabel(positionals: readonly string[], label: number): string[] {
  if (positionals.length > 0) throw new UsageError("--class-label cannot be given together with a prompt");
  return [String(label)];
}

/** Empty if there is none, which only models take that are not conditioned. */
function readPrompt(positionals: readonly string[]): string {
  const [prompt = "", ...rest] = positionals;
  if (rest.length > 0) throw new UsageError("give the prompt as one argument, in quotes");
  if (prompt.length > MAX_PROMPT_CHARS) {
    throw new UsageError(
      `the prompt has ${prompt.length} characters; at most ${MAX_PROMPT_CHARS} are allowed`,
    );
  }
  return prompt;
}

function readFormat(values: Values, out: string) {
  const given = choiceOption(values, "format", ["png", "webp", "jpeg", "jpg", "tokens"]);
  if (given !== undefined) return given === "jpg" ? "jpeg" : given;
  const ending = extname(out).toLowerCase();
  const format = FORMAT_BY_ENDING[ending as keyof typeof FORMAT_BY_ENDING];
  if (format === undefined) {
    throw new UsageError(
      `--out ends in ${JSON.stringify(ending)}, not in .png, .webp, .jpg or ${TOKENS_ENDING}; use --format`,
    );
  }
  return format;
}

/** face.png → face-0.png */
function numbered(path: string, index: number): string {
  const ending = extname(path);
  return join(
    dirname(path),
    `${path.slice(dirname(path).length, path.length - ending.length)}-${index}${ending}`,
  );
}
