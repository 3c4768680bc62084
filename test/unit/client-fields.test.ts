// What clients' own types declare, and what becomes of it here. A field or a value that a new version of a client adds has no
// row below, so that `npm run check` fails until somebody has decided about it; the tests hold each decision against the schemas.

import type { OpenAIImageModelGenerationOptions } from "@ai-sdk/openai";
import type { ReplicateImageModelOptions } from "@ai-sdk/replicate";
import type { TextToImageArgs } from "@huggingface/inference";
import type OpenAI from "openai";
import type {
  Account,
  Deployment,
  FileObject,
  Model,
  ModelVersion,
  Prediction,
  default as Replicate,
} from "replicate";
import { describe, expect, it } from "vitest";
import type { z } from "zod";
import {
  accountSchema,
  fileSchema,
  imagesSchema,
  modelSchema,
  predictionSchema,
  versionSchema,
} from "../../edge/api-docs/answers.ts";
import { textToImageSchema } from "../../edge/huggingface/schema.ts";
import {
  editImagesSchema,
  type GenerateImages,
  generateImagesSchema,
  ignoredOf,
  variationSchema,
} from "../../edge/openai/schema.ts";
import { deploymentSchema } from "../../edge/replicate/schema.ts";
import { createPredictionSchema, predictionInputSchema } from "../../edge/service/schemas.ts";

/** `ignored` is reported as such in the answer; `refused`, an error that names the field. */
type Decision = "taken" | "ignored" | "refused";
/** A field's decision and a value of it, which is not one that stands for the default. */
type Row<T> = readonly [Decision, NonNullable<T>];
type Named<T> = { [F in keyof T as string extends F ? never : F]: T[F] };
type Rows<T> = { readonly [F in keyof Required<Named<T>>]: Row<T[F & keyof T]> };
/** A decision for each literal that a field may have. */
type Values<T> = Readonly<Record<NonNullable<T> & string, Decision>>;

type ImageParams = OpenAI.Images.ImageGenerateParamsStreaming;
const OPENAI_COMMON = {
  prompt: ["taken", "fox"],
  background: ["taken", "opaque"],
  complexity: ["ignored", "low"],
  frame_count: ["refused", 2],
  frame_duration_ms: ["refused", 100],
  model: ["taken", "vqd/scenes"],
  n: ["taken", 2],
  output_compression: ["taken", 50],
  output_format: ["taken", "webp"],
  partial_images: ["taken", 2],
  quality: ["taken", "low"],
  response_format: ["taken", "url"],
  safety_identifier: ["taken", "someone"],
  size: ["taken", "256x256"],
  stream: ["taken", true],
  svg: ["refused", { model: "any" }],
  user: ["taken", "someone"],
} satisfies Partial<Rows<ImageParams>>;
const OPENAI: Rows<ImageParams> = {
  ...OPENAI_COMMON,
  moderation: ["ignored", "low"],
  style: ["ignored", "vivid"],
};
const OPENAI_VALUES: {
  readonly [
    F in
      | "background"
      | "output_format"
      | "quality"
      | "response_format"
      | "style"
      | "moderation"
      | "complexity"
  ]: Values<ImageParams[F]>;
} = {
  background: { transparent: "refused", opaque: "taken", auto: "taken" },
  output_format: { png: "taken", webp: "taken", jpeg: "taken", gif: "refused", svg: "refused" },
  quality: {
    low: "taken",
    medium: "taken",
    high: "taken",
    xhigh: "taken",
    max: "taken",
    auto: "taken",
    standard: "taken",
    hd: "taken",
  },
  response_format: { url: "taken", b64_json: "taken" },
  style: { vivid: "ignored", natural: "ignored" },
  moderation: { low: "ignored", auto: "ignored" },
  complexity: { low: "ignored", medium: "ignored", high: "ignored" },
};

/** Beside the files, of which `image` and `mask` are taken, and `markup` is not known. */
const OPENAI_EDIT: Rows<Omit<OpenAI.Images.ImageEditParamsStreaming, "image" | "mask" | "markup">> = {
  ...OPENAI_COMMON,
  input_fidelity: ["ignored", "high"],
};
const OPENAI_VARIATION: Rows<Omit<OpenAI.Images.ImageCreateVariationParams, "image">> = {
  model: ["taken", "vqd/scenes"],
  n: ["taken", 2],
  response_format: ["taken", "url"],
  size: ["taken", "256x256"],
  user: ["taken", "someone"],
};

/** The AI SDK sends these by OpenAI's names. */
const AI_OPENAI: Rows<OpenAIImageModelGenerationOptions> = {
  quality: ["taken", "hd"],
  background: ["taken", "opaque"],
  complexity: ["ignored", "low"],
  outputCompression: ["taken", 50],
  user: ["taken", "someone"],
  safetyIdentifier: ["taken", "someone"],
  style: ["ignored", "natural"],
  outputFormat: ["taken", "jpeg"],
  frameCount: ["refused", 2],
  frameDurationMs: ["refused", 100],
  moderation: ["ignored", "low"],
};

type HubParameters = NonNullable<TextToImageArgs["parameters"]>;
const HUGGINGFACE: Rows<HubParameters> = {
  guidance_scale: ["taken", 3],
  height: ["taken", 64],
  negative_prompt: ["taken", "hat"],
  num_inference_steps: ["taken", 12],
  // diffusers' names of schedulers for other kinds of models.
  scheduler: ["refused", "EulerDiscreteScheduler"],
  seed: ["taken", 7],
  width: ["taken", 64],
};

type Creation = Parameters<Replicate["predictions"]["create"]>[0];
/** Those that its client keeps to itself are not in the body. */
const REPLICATE: Rows<Omit<Creation, "wait" | "signal">> = {
  model: ["taken", "vqd/scenes"],
  version: ["taken", "a".repeat(64)],
  input: ["taken", { prompt: "fox" }],
  stream: ["taken", true],
  webhook: ["taken", "https://example.com/hook"],
  webhook_events_filter: ["taken", ["completed"]],
};

/** `maxWaitTimeInSeconds` becomes the header Prefer. */
const AI_REPLICATE: Rows<Omit<Named<ReplicateImageModelOptions>, "maxWaitTimeInSeconds">> = {
  guidance_scale: ["taken", 3],
  num_inference_steps: ["taken", 12],
  negative_prompt: ["taken", "hat"],
  output_format: ["taken", "jpg"],
  output_quality: ["taken", 50],
  strength: ["taken", 0.5],
};

const snakeCase = (name: string): string => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`);

const OPENAI_SCHEMAS: ReadonlySet<z.ZodType> = new Set<z.ZodType>([
  generateImagesSchema,
  editImagesSchema,
  variationSchema,
]);

/** What the schema does with a field that `wrap` puts into a body. */
function decisionOf(schema: z.ZodType, field: string, body: object): Decision {
  const parsed = schema.safeParse(body);
  if (!parsed.success) {
    const paths = parsed.error.issues.flatMap((issue) =>
      issue.code === "unrecognized_keys" ? issue.keys : issue.path.map(String),
    );
    expect(paths).toContain(field);
    return "refused";
  }
  const isImages = OPENAI_SCHEMAS.has(schema);
  return isImages && ignoredOf(parsed.data as GenerateImages).includes(field) ? "ignored" : "taken";
}

const PROMPT = { prompt: "fox" };
const BODIES = {
  openai: [generateImagesSchema, (field: object) => ({ ...PROMPT, ...field })],
  edit: [editImagesSchema, (field: object) => ({ ...PROMPT, ...field })],
  variation: [variationSchema, (field: object) => field],
  huggingface: [textToImageSchema, (field: object) => ({ inputs: "fox", parameters: field })],
  replicate: [createPredictionSchema, (field: object) => ({ input: PROMPT, ...field })],
  input: [predictionInputSchema, (field: object) => ({ ...PROMPT, ...field })],
} as const;

describe.each([
  ["openai", "openai", OPENAI],
  ["openai's edits", "edit", OPENAI_EDIT],
  ["openai's variations", "variation", OPENAI_VARIATION],
  ["the AI SDK's openai", "openai", AI_OPENAI],
  ["@huggingface/inference", "huggingface", HUGGINGFACE],
  ["replicate", "replicate", REPLICATE],
  ["the AI SDK's replicate", "input", AI_REPLICATE],
] as const)("%s", (_, dialect, rows) => {
  it.each(Object.entries(rows as Record<string, Row<unknown>>))("%s: %s", (name, [decision, value]) => {
    const [schema, bodyOf] = BODIES[dialect];
    const field = snakeCase(name);
    expect(decisionOf(schema, field, bodyOf({ [field]: value }))).toBe(decision);
  });
});

it.each(
  Object.entries(OPENAI_VALUES).flatMap(([field, values]) =>
    Object.entries(values).map(([value, decision]) => [field, value, decision] as const),
  ),
)("openai: %s %s: %s", (field, value, decision) => {
  expect(decisionOf(generateImagesSchema, field, { ...PROMPT, [field]: value })).toBe(decision);
});

/** Whether answers have a field that a client's type declares. */
type Given<T> = { readonly [F in keyof Required<T>]: boolean };
type Links = Omit<Prediction, "urls" | "metrics">;

const ANSWERS: readonly (readonly [string, z.ZodObject, Readonly<Record<string, boolean>>])[] = [
  [
    "openai's ImagesResponse",
    imagesSchema,
    {
      created: true,
      background: true,
      data: true,
      output_format: true,
      quality: true,
      safety_identifier: true,
      size: true,
      svg_usage: false,
      usage: true,
    } satisfies Given<OpenAI.ImagesResponse>,
  ],
  [
    "replicate's Prediction",
    predictionSchema,
    {
      id: true,
      status: true,
      model: true,
      version: true,
      input: true,
      output: true,
      source: true,
      error: true,
      logs: true,
      data_removed: true,
      deadline: false,
      deployment: false,
      webhook: true,
      webhook_events_filter: true,
      created_at: true,
      started_at: true,
      completed_at: true,
    } satisfies Given<Links>,
  ],
  [
    "the URLs of replicate's Prediction",
    predictionSchema.shape.urls,
    { get: true, cancel: true, stream: true, web: false } satisfies Given<Prediction["urls"]>,
  ],
  [
    "the metrics of replicate's Prediction",
    predictionSchema.shape.metrics,
    { predict_time: true, total_time: true } satisfies Given<NonNullable<Prediction["metrics"]>>,
  ],
  [
    "replicate's Model",
    modelSchema,
    {
      url: true,
      owner: true,
      name: true,
      description: true,
      visibility: true,
      is_official: true,
      github_url: false,
      paper_url: false,
      license_url: false,
      run_count: true,
      cover_image_url: false,
      default_example: false,
      latest_version: true,
    } satisfies Given<Model>,
  ],
  [
    "replicate's ModelVersion",
    versionSchema,
    { id: true, created_at: true, cog_version: true, openapi_schema: true } satisfies Given<ModelVersion>,
  ],
  [
    "replicate's Deployment",
    deploymentSchema,
    { owner: true, name: true, current_release: true } satisfies Given<Deployment>,
  ],
  [
    "replicate's FileObject",
    fileSchema,
    {
      id: true,
      content_type: true,
      size: true,
      checksums: true,
      metadata: true,
      created_at: true,
      expires_at: true,
      urls: true,
    } satisfies Given<FileObject>,
  ],
  [
    "replicate's Account",
    accountSchema,
    { type: true, username: true, name: true, github_url: false, avatar_url: false } satisfies Given<Account>,
  ],
];

it.each(ANSWERS)("answers have the fields of %s", (_, schema, fields) => {
  for (const [name, isGiven] of Object.entries(fields)) {
    expect([name, Object.hasOwn(schema.shape, name)]).toEqual([name, isGiven]);
  }
});
