// Replicate's predictions resource.

import { VqdError } from "@vqd/shared/errors.ts";
import { readJson } from "../body.ts";
import type { AppContext } from "../context.ts";
import { configOf } from "../env.ts";
import { isFinal, type PredictionRecord, unwrap } from "../hub/records.ts";
import { hubOfPrediction, hubOfShard, shardOfKey } from "../hubs.ts";
import { defaultModelOf, listModels, resolveModel } from "../models.ts";
import { preferredWait } from "../prefer.ts";
import { pageLinks, pageQuery } from "../paging.ts";
import { type PredictionView, type ViewExtra, viewPrediction } from "../prediction-view.ts";
import { cancelAfterMs, idempotencyOf } from "../request-headers.ts";
import { createPredictionSchema } from "../schemas.ts";
import { submitPrediction } from "../submit.ts";
import { originOf, predictionUrl } from "../urls.ts";
import { invalidInput, validate } from "../validation.ts";
import { waitForEnd } from "../wait.ts";

const view = (c: AppContext, record: PredictionRecord, extra?: ViewExtra): PredictionView => {
  const config = configOf(c.env);
  return viewPrediction(record, originOf(config, c.req.url), config, extra);
};

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
  const request = { ...body, model: model.version };
  const { record, isNew } = await submitPrediction(c.env, {
    input: body.input,
    model,
    keyName,
    requestId: c.get("requestId"),
    path: "input.",
    cancelAfterMs: cancelAfterMs(c.req.header("cancel-after")),
    idempotency: await idempotencyOf(c.req.header("idempotency-key"), request),
  });
  const seconds = preferredWait(c.req.header("prefer"));
  const origin = originOf(configOf(c.env), c.req.url);
  c.header("location", predictionUrl(origin, record.id));
  // What another request has made is not created by this one.
  const created = isNew ? 201 : 200;
  if (seconds === 0) return c.json(view(c, record), created);

  c.header("preference-applied", `wait=${seconds}`);
  const waited = await waitForEnd(c.env, record.id, keyName, seconds * 1_000);
  // Replicate's client takes every status but `starting` for the end.
  const status = isFinal(waited.status) ? waited.status : "starting";
  return c.json(view(c, waited, { status }), created);
}

/** `GET /v1/predictions/{id}` */
export async function getPrediction(c: AppContext): Promise<Response> {
  const id = c.req.param("id") ?? "";
  const { record, queue } = unwrap(await hubOfPrediction(c.env, id).get(id, c.get("keyName")));
  c.header("cache-control", "no-store");
  return c.json(view(c, record, { queue }));
}

/** `GET /v1/predictions`: the key's own, newest first. */
export async function listPredictions(c: AppContext): Promise<Response> {
  const url = new URL(c.req.url);
  const query = pageQuery(url.searchParams);
  const keyName = c.get("keyName");
  const page = unwrap(await hubOfShard(c.env, shardOfKey(c.env, keyName)).list({ keyName, ...query }));
  const origin = originOf(configOf(c.env), c.req.url);
  c.header("cache-control", "no-store");
  return c.json({
    ...pageLinks(page, `${origin}${url.pathname}`, query.limit),
    results: page.records.map((record) => view(c, record)),
  });
}

/** `POST /v1/predictions/{id}/cancel` */
export async function cancelPrediction(c: AppContext): Promise<Response> {
  const id = c.req.param("id") ?? "";
  return c.json(view(c, unwrap(await hubOfPrediction(c.env, id).cancel(id, c.get("keyName")))));
}
