// What the edge must know about a model; each worker announces it for the checkpoint that it has loaded.

import { z } from "zod";
import {
  MAX_GUIDANCE_SCALE,
  MAX_LATENT_PIXELS,
  MAX_PALETTE_CODES,
  MAX_TEXT_LENGTH,
  MAX_TIMESTEPS,
  MAX_VECTOR_EMBEDS,
  MIN_GUIDANCE_SCALE,
} from "./limits.ts";
import { PRESET_NAMES } from "./sampling/preset-names.ts";
import { MAX_VOCABULARY } from "./tokenizer/vocabulary.ts";

/** `owner/name`, lower case; a double dash is reserved for the model key. */
const MODEL_NAME_PATTERN = /^[a-z0-9](?:[a-z0-9_]|-(?!-))*\/[a-z0-9](?:[a-z0-9_]|-(?!-))*$/;
/** The latest time that a Date can represent. */
const MAX_DATE_MS = 8.64e15;
export const VERSION_PATTERN = /^[0-9a-f]{64}$/;

export const modelNameSchema = z.string().max(100).regex(MODEL_NAME_PATTERN, "must look like owner/name");
/** SHA-256 of the checkpoint's files, hex. */
export const versionSchema = z.string().regex(VERSION_PATTERN, "must be 64 hexadecimal digits");

/** Largest numbers in what a worker announces of its device. */
const MAX_DEVICE_SLOTS = 1_024;
const MAX_SLOT_TIMES = 16;
/** Ms of a pass over so many images; null if there was no memory for it. */
export const slotTimeSchema = z.object({ images: z.int().min(1), ms: z.number().min(0).nullable() });

export const MAX_EXAMPLES = 12;
const MAX_EXAMPLE_CHARS = 200;
const MAX_NOTE_CHARS = 500;

/** Of all the words that a model knows. */
export const MAX_WORDS_CHARS = 100_000;
export const WORDS_PATTERN = /^[^\s\p{Lu}]+(?: [^\s\p{Lu}]+)*$/u;

/** What the makers of a model say to those who use it: for lists of models, searches and the playground. */
export const modelCardSchema = z.strictObject({
  /** Prompts that the model is good at. */
  examples: z
    .array(z.string().trim().min(1, "must not be empty").max(MAX_EXAMPLE_CHARS))
    .max(MAX_EXAMPLES)
    .optional(),
  /** The presets that suit the model; all, if it does not say. */
  presets: z.array(z.enum(PRESET_NAMES)).min(1).max(PRESET_NAMES.length).optional(),
  /** How to prompt it, in a sentence or two of plain text. */
  note: z.string().trim().min(1, "must not be empty").max(MAX_NOTE_CHARS).optional(),
});

export type ModelCard = z.infer<typeof modelCardSchema>;

/** What a worker has found out about its GPU. */
export const deviceManifestSchema = z.strictObject({
  /** Images that it denoises at once. */
  slots: z.int().min(1).max(MAX_DEVICE_SLOTS),
  /** Ms of a pass over so many images, null without memory for it; empty where it has not measured them. */
  slotTimes: z.array(slotTimeSchema).max(MAX_SLOT_TIMES),
  /** Whether an image has the same bits alone as in a batch, and so when it is resumed. */
  batchInvariant: z.boolean(),
});

export type DeviceManifest = z.infer<typeof deviceManifestSchema>;

export const modelManifestSchema = z
  .strictObject({
    v: z.literal(1),
    name: modelNameSchema,
    version: versionSchema,
    /** Diffusion steps that the model was trained with; `num_inference_steps` cannot exceed them. */
    numTrainTimesteps: z.int().min(1).max(MAX_TIMESTEPS),
    /** The model's defaults, which take precedence over the edge's. */
    defaults: z
      .strictObject({ guidanceScale: z.number().min(MIN_GUIDANCE_SCALE).max(MAX_GUIDANCE_SCALE) })
      .optional(),
    /** What its makers say to those who use it. */
    card: modelCardSchema.optional(),
    /** Number of classes of a latent pixel, including the mask, which is the last. */
    numVectorEmbeds: z.int().min(2).max(MAX_VECTOR_EMBEDS),
    latentHeight: z.int().min(1),
    latentWidth: z.int().min(1),
    imageHeight: z.int().min(1),
    imageWidth: z.int().min(1),
    /** What a prompt is: a text, the name or label of a class, or nothing; `tokenizer` has one id for the latter two [text]. */
    conditioning: z.enum(["text", "class", "none"]).optional(),
    tokenizer: z.strictObject({
      /** SHA-256 of the vocabulary, hex. One that is not CLIP's comes with the manifest (tokenizer/announcement.ts). */
      mergesSha256: z.string().regex(VERSION_PATTERN),
      maxLength: z.int().min(1).max(MAX_TEXT_LENGTH),
      padTokenId: z
        .int()
        .min(0)
        .max(MAX_VOCABULARY - 1),
    }),
    /**
     * Colour of each class except the mask, for displaying tokens without decoding them: R, G, B bytes in base64, four
     * characters each. Omitted for models with very many codes.
     */
    palette: z
      .base64()
      .max(4 * MAX_PALETTE_CODES)
      .optional(),
    /** Of the worker that has announced it, if that has a GPU. */
    device: deviceManifestSchema.optional(),
    /** The words that the model knows, in lower case, with a space between them; left out if the checkpoint does not say. */
    words: z
      .string()
      .max(MAX_WORDS_CHARS)
      .regex(WORDS_PATTERN, "must be words with a space between them")
      .optional(),
    /** Number of weights. */
    parameters: z.int().min(0),
    /** Unix time in ms by the worker's clock; hubs use the broker's clock. */
    announcedAt: z.int().min(0).max(MAX_DATE_MS),
  })
  .refine(
    ({ conditioning = "text", tokenizer }) => (tokenizer.maxLength === 1) === (conditioning !== "text"),
    {
      message: "must be 2 or more for a model conditioned by text, else 1",
      path: ["tokenizer", "maxLength"],
    },
  )
  .refine((model) => model.latentHeight * model.latentWidth <= MAX_LATENT_PIXELS, {
    message: `must have at most ${MAX_LATENT_PIXELS} latent pixels`,
    path: ["latentHeight"],
  })
  .refine(
    (model) => model.palette === undefined || model.palette.length === 4 * (model.numVectorEmbeds - 1),
    {
      message: "must have one colour for each class but the mask",
      path: ["palette"],
    },
  );

export type ModelManifest = z.infer<typeof modelManifestSchema>;

export const MODEL_KEY_PATTERN =
  /^[a-z0-9](?:[a-z0-9_]|-(?!-))*--[a-z0-9](?:[a-z0-9_]|-(?!-))*--[0-9a-f]{12}$/;

/**
 * The model's token in NATS subjects and consumer names. It includes the version, so that a job only ever runs on the
 * weights that it was created for, even while two versions of a model are served side by side.
 */
export function modelKey(model: { name: string; version: string }): string {
  return `${model.name.replace("/", "--")}--${model.version.slice(0, 12)}`;
}
