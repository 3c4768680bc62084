// Replicate's versions, search, deployments, hardware and collections, as far as this service has something to say of them.

import { VqdError } from "@vqd/shared/errors.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { readText } from "../http/body/body.ts";
import { invalidInput } from "../http/body/validation.ts";
import type { AppContext } from "../http/context.ts";
import { answerModels, namedModel, viewVersion } from "../routes/models.ts";
import { listModels, mainVersions, type Models, retirementOf, type ServedModel } from "../service/models.ts";

const MAX_QUERY_CHARS = 1_000;

const page = <T>(results: readonly T[]) => ({ previous: null, next: null, results });

/** The versions of the model in the path, the newest first. Throws a VqdError (not_found). */
async function versionsOf(c: AppContext): Promise<ServedModel[]> {
  const { name } = await namedModel(c);
  const { versions } = await listModels(c.get("hubs"));
  return versions.filter((model) => model.name === name).toSorted((a, b) => b.announcedAt - a.announcedAt);
}

/** `GET /v1/models/{owner}/{name}/versions` */
export async function getVersions(c: AppContext): Promise<Response> {
  return c.json(page((await versionsOf(c)).map(viewVersion)));
}

/** `GET /v1/models/{owner}/{name}/versions/{version}` */
export async function getVersion(c: AppContext): Promise<Response> {
  const wanted = c.req.param("version");
  const version = (await versionsOf(c)).find((model) => model.version === wanted);
  if (version === undefined) {
    const models = await listModels(c.get("hubs"));
    const retired = retirementOf(models, wanted, c.get("config"));
    throw new VqdError(
      "not_found",
      retired === undefined ? "the model has no such version" : `it ${retired}`,
    );
  }
  return c.json(viewVersion(version));
}

/** The words of a search. Python's client sends the text as it is, JavaScript's as JSON. Throws a VqdError (invalid_input). */
async function searchedWords(c: AppContext): Promise<string[]> {
  const sent = (await readText(c.req.raw)).trim();
  if (sent.length > MAX_QUERY_CHARS) {
    throw invalidInput([{ path: "", message: `must have at most ${MAX_QUERY_CHARS} characters` }]);
  }
  const text = /^"(?:[^"\\]|\\.)*"$/s.test(sent) ? unquoted(sent) : sent;
  return text.toLowerCase().split(/\s+/).filter(Boolean);
}

function unquoted(json: string): string {
  try {
    return String(JSON.parse(json));
  } catch {
    return json;
  }
}

/** `QUERY /v1/models`: the models in whose name, description and card all words of the body occur. */
export async function searchModels(c: AppContext): Promise<Response> {
  const words = await searchedWords(c);
  const models = mainVersions(await listModels(c.get("hubs")));
  const found = models.filter((model) => {
    const text = searchText(model);
    return words.every((word) => text.includes(word));
  });
  return answerModels(c, found);
}

function searchText({ name, imageWidth, imageHeight, card }: ModelManifest): string {
  const said = [card?.note ?? "", ...(card?.examples ?? [])];
  return [`${name} VQ-Diffusion ${imageWidth}x${imageHeight}`, ...said].join("\n").toLowerCase();
}

/** Its release is the version that serves the name, or most of its requests. */
function viewDeployment({ name, version, announcedAt }: ServedModel, models: Models) {
  const [owner = "", ownName = ""] = name.split("/");
  return {
    owner,
    name: ownName,
    current_release: {
      number: models.versions.filter((model) => model.name === name).length,
      model: name,
      version,
      created_at: new Date(announcedAt).toISOString(),
      created_by: { type: "user", username: owner, name: owner },
      configuration: { hardware: "unknown", min_instances: 0, max_instances: 0 },
    },
  };
}

/** `GET /v1/deployments`: one for each model, of the same name. */
export async function getDeployments(c: AppContext): Promise<Response> {
  const models = await listModels(c.get("hubs"));
  return c.json(page(mainVersions(models).map((model) => viewDeployment(model, models))));
}

/** `GET /v1/deployments/{owner}/{name}` */
export async function getDeployment(c: AppContext): Promise<Response> {
  const model = await namedModel(c);
  return c.json(viewDeployment(model, await listModels(c.get("hubs"))));
}

/** `GET /v1/hardware`: none can be chosen. */
export const getHardware = (c: AppContext): Response => c.json([]);

/** `GET /v1/collections`: there are none. */
export const getCollections = (c: AppContext): Response => c.json(page([]));
