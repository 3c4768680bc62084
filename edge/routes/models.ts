// The models resource, in OpenAI's and Replicate's formats at once.

import { VqdError } from "@vqd/shared/errors.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { PRESET_NAMES } from "@vqd/shared/sampling/preset-names.ts";
import { z } from "zod";
import type { AppContext } from "../http/context.ts";
import { listModels, mainVersions, resolveModel, retirementOf, type ServedModel } from "../service/models.ts";
import { DEFAULTS, predictionInputSchema } from "../service/schemas.ts";
import { modelUrl } from "../prediction/urls.ts";
import { originOf } from "../http/urls.ts";
import { announcedClasses } from "../tokenizer/announced.ts";

/** The palette of a version never changes; that of a name does when there is a new version. */
const PALETTE_MAX_AGE_SECONDS = 300;

/** What the API takes, whatever the model. */
const INPUT = z.toJSONSchema(predictionInputSchema, { io: "input", unrepresentable: "any" });

/** Replicate's clients read the input schema from here. */
function openapiSchema({ numTrainTimesteps }: ModelManifest): unknown {
  const { num_inference_steps: steps } = INPUT.properties ?? {};
  const ofModel = typeof steps === "object" ? withMaximum(steps, numTrainTimesteps) : {};
  return {
    openapi: "3.1.0",
    components: {
      schemas: {
        Input: { ...INPUT, properties: { ...INPUT.properties, num_inference_steps: ofModel } },
        Output: { type: "array", items: { type: "string", format: "uri" }, title: "Output" },
      },
    },
  };
}

/** The schema of a number or null, with another maximum. */
const withMaximum = (schema: z.core.JSONSchema.JSONSchema, maximum: number) => ({
  ...schema,
  anyOf: schema.anyOf?.map((each) => (each.maximum === undefined ? each : { ...each, maximum })),
});

/** A version of a model in Replicate's format. */
export const viewVersion = (model: ServedModel) => ({
  id: model.version,
  created_at: new Date(model.announcedAt).toISOString(),
  cog_version: "",
  openapi_schema: openapiSchema(model),
  share: model.share,
});

const KINDS = { text: "", class: " by class", none: " without a prompt" } as const;

function viewModel(model: ServedModel, origin: string) {
  const [owner = "", name = ""] = model.name.split("/");
  return {
    // OpenAI
    id: model.name,
    object: "model",
    created: Math.floor(model.announcedAt / 1_000),
    owned_by: owner,
    // Replicate
    url: modelUrl(origin, model.name),
    owner,
    name,
    description: `VQ-Diffusion${KINDS[model.conditioning ?? "text"]}, ${model.imageWidth}x${model.imageHeight} pixels`,
    visibility: "public",
    is_official: false,
    run_count: 0,
    latest_version: viewVersion(model),
    // What its makers say of it
    card: {
      examples: model.card?.examples ?? [],
      presets: model.card?.presets ?? PRESET_NAMES,
      note: model.card?.note ?? null,
    },
    conditioning: model.conditioning ?? "text",
    known_words: model.words?.split(" ").length ?? null,
    // Useful to know before asking for an image
    defaults: { guidance_scale: model.defaults?.guidanceScale ?? DEFAULTS.guidanceScale },
    limits: {
      max_inference_steps: model.numTrainTimesteps,
      max_prompt_tokens: model.conditioning === "none" ? 0 : model.tokenizer.maxLength,
      image_width: model.imageWidth,
      image_height: model.imageHeight,
      latent_width: model.latentWidth,
      latent_height: model.latentHeight,
      latent_classes: model.numVectorEmbeds,
      parameters: model.parameters,
    },
    seconds_per_image_step: model.secondsPerImageStep ?? null,
  };
}

/** A list of models. */
export function answerModels(c: AppContext, models: readonly ServedModel[]): Response {
  const origin = originOf(c.get("config"), c.req.url);
  const views = models.map((model) => viewModel(model, origin));
  return c.json({ object: "list", data: views, next: null, previous: null, results: views });
}

/** `GET /v1/models`: of each model the version that serves its name, or most of its requests. */
export async function getModels(c: AppContext): Promise<Response> {
  return answerModels(c, mainVersions(await listModels(c.get("hubs"))));
}

/** The model named in the path; `owner/name:version` selects a version. Throws a VqdError (not_found). */
export async function namedModel(c: AppContext): Promise<ServedModel> {
  const owner = c.req.param("owner");
  const name = owner === undefined ? (c.req.param("id") ?? "") : `${owner}/${c.req.param("name") ?? ""}`;
  const models = await listModels(c.get("hubs"));
  const model = name === "" ? undefined : resolveModel(models, name, c.get("config"));
  if (model === undefined) {
    const retired = retirementOf(models, name, c.get("config"));
    throw new VqdError("not_found", `the model ${retired ?? "does not exist; see GET /v1/models"}`, {
      errors: [{ path: "model", message: retired ?? "is not the name of an available model" }],
    });
  }
  return model;
}

/** `GET /v1/models/{owner}/{name}`, or `GET /v1/models/{id}` with the slash encoded, as OpenAI's client sends it. */
export async function getModel(c: AppContext): Promise<Response> {
  return c.json(viewModel(await namedModel(c), originOf(c.get("config"), c.req.url)));
}

/** `GET /v1/models/{owner}/{name}/classes`: what its prompts can be, if it is conditioned by class. */
export async function getClasses(c: AppContext): Promise<Response> {
  const { name, version, tokenizerId } = await namedModelByClass(c);
  const hubs = c.get("hubs");
  const announcement = await hubs.own.tokenizer(tokenizerId);
  if (announcement === null) throw new VqdError("not_found", `${name} has just been replaced; try again`);
  const { count, names } = await announcedClasses(announcement);
  c.header("cache-control", `private, max-age=${PALETTE_MAX_AGE_SECONDS}`);
  return c.json({ model: name, version, num_classes: count, id2label: Object.fromEntries(names) });
}

async function namedModelByClass(c: AppContext): Promise<ServedModel & { readonly tokenizerId: string }> {
  const model = await namedModel(c);
  const { conditioning, tokenizerId } = model;
  if (conditioning === "class" && tokenizerId !== null) return { ...model, tokenizerId };
  throw new VqdError("not_found", `${model.name} is not conditioned by class`);
}

/** `GET /v1/models/{owner}/{name}/vocabulary`: the words that the model knows, if its checkpoint says so. */
export async function getVocabulary(c: AppContext): Promise<Response> {
  const { name, version, words } = await namedModel(c);
  if (words === undefined) throw new VqdError("not_found", `${name} does not say which words it knows`);
  c.header("cache-control", `private, max-age=${PALETTE_MAX_AGE_SECONDS}`);
  return c.json({ model: name, version, words: words.split(" ") });
}

/** `GET /v1/models/{owner}/{name}/palette`: lets a client show tokens as an image without decoding them. */
export async function getPalette(c: AppContext): Promise<Response> {
  const model = await namedModel(c);
  if (model.palette === undefined) {
    throw new VqdError("not_found", `${model.name} has not published a palette`);
  }
  c.header("cache-control", `private, max-age=${PALETTE_MAX_AGE_SECONDS}`);
  return c.json({
    model: model.name,
    version: model.version,
    classes: model.numVectorEmbeds,
    mask: model.numVectorEmbeds - 1,
    latent_width: model.latentWidth,
    latent_height: model.latentHeight,
    rgb: model.palette,
  });
}
