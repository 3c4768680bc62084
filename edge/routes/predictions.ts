// Replicate's predictions resource.

import { VqdError } from "@vqd/shared/errors.ts";
import { readJson } from "../body.ts";
import type { AppContext } from "../context.ts";
import { configOf } from "../env.ts";
import { isFinal, type PredictionRecord, unwrap } from "../hub/records.ts";
import { hubOfPrediction } from "../hubs.ts";
import { defaultModelOf, listModels, resolveModel } from "../models.ts";
import { preferredWait } from "../prefer.ts";
import { viewPrediction } from "../prediction-view.ts";
import { createPredictionSchema } from "../schemas.ts";
import { submitPrediction } from "../submit.ts";
import { originOf, predictionUrl } from "../urls.ts";
import { invalidInput, validate } from "../validation.ts";
import { waitForEnd } from "../wait.ts";

const view = (c: AppContext, record: PredictionRecord): ReturnType<typeof viewPrediction> =>
  viewPrediction(record, originOf(configOf(c.env), c.req.url));

/** `POST /v1/predictions`, and `POST /v1/models/{owner}/{name}/predictions` with the model from the path. */
export async function createPrediction(c: AppContext): Promise<Response> {
  const body = validate(createPredictionSchema, await readJson(c.req.raw));
  const keyName = c.get("keyName");
  const models = await listModels(c.env, keyName, c.get("log"));
  const owner = c.req.param("owner");
  const fromPath = owner === undefined ? undefined : `${owner}/${c.req.param("name") ?? ""}`;
  if (body.model && (fromPath ?? body.version)) {
    throw invalidInput([{ path: "model", message: "must be left out: the model is named already" }]);
  }
  const reference = fromPath ?? body.version ?? body.model ?? undefined;
  const model = resolveModel(models, reference, defaultModelOf(c.env));
  if (model === undefined) {
    if (fromPath !== undefined) throw new VqdError("not_found", `there is no model ${fromPath}`);
    throw invalidInput([
      {
        path: body.model ? "model" : "version",
        message: "names no model that is served here; see GET /v1/models",
      },
    ]);
  }
  const record = await submitPrediction(c.env, {
    input: body.input,
    model,
    keyName,
    requestId: c.get("requestId"),
    path: "input.",
  });
  const seconds = preferredWait(c.req.header("prefer"));
  const origin = originOf(configOf(c.env), c.req.url);
  c.header("location", predictionUrl(origin, record.id));
  if (seconds === 0) return c.json(view(c, record), 201);

  c.header("preference-applied", `wait=${seconds}`);
  const waited = await waitForEnd(c.env, record.id, keyName, seconds * 1_000);
  // Replicate's client takes every status but `starting` for the end.
  const status = isFinal(waited.status) ? waited.status : "starting";
  return c.json(viewPrediction(waited, origin, status), 201);
}

/** `GET /v1/predictions/{id}` */
export async function getPrediction(c: AppContext): Promise<Response> {
  const id = c.req.param("id") ?? "";
  const record = unwrap(await hubOfPrediction(c.env, id).get(id, c.get("keyName")));
  c.header("cache-control", "no-store");
  return c.json(view(c, record));
}

/** `POST /v1/predictions/{id}/cancel` */
export async function cancelPrediction(c: AppContext): Promise<Response> {
  const id = c.req.param("id") ?? "";
  return c.json(view(c, unwrap(await hubOfPrediction(c.env, id).cancel(id, c.get("keyName")))));
}
