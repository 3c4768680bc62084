// Replicate's predictions resource.

import { VqdError } from "@vqd/shared/errors.ts";
import { readJson } from "../body.ts";
import { cancelAfterMs } from "../cancel-after.ts";
import type { AppContext } from "../context.ts";
import { configOf } from "../env.ts";
import { isFinal, type PredictionRecord, unwrap } from "../hub/records.ts";
import { hubOfPrediction, hubOfShard, shardOfKey } from "../hubs.ts";
import { idempotencyOf } from "../idempotency.ts";
import { defaultModelOf, listModels, resolveModel } from "../models.ts";
import { listQuery, pageUrl } from "../page.ts";
import { preferredWait } from "../prefer.ts";
import { type PredictionView, viewPrediction } from "../prediction-view.ts";
import { createPredictionSchema } from "../schemas.ts";
import { submitPrediction } from "../submit.ts";
import { originOf, predictionUrl } from "../urls.ts";
import { invalidInput, validate } from "../validation.ts";
import { waitForEnd } from "../wait.ts";

function view(c: AppContext, record: PredictionRecord, status = record.status): PredictionView {
  const config = configOf(c.env);
  return viewPrediction(record, { origin: originOf(config, c.req.url), retention: config, status });
}

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
  const { record, isReplay } = await submitPrediction(c.env, {
    input: body.input,
    model,
    keyName,
    requestId: c.get("requestId"),
    cancelAfterMs: cancelAfterMs(c.req.header("cancel-after")),
    idempotency: await idempotencyOf(c, body),
    path: "input.",
  });
  const seconds = preferredWait(c.req.header("prefer"));
  const origin = originOf(configOf(c.env), c.req.url);
  c.header("location", predictionUrl(origin, record.id));
  if (isReplay) c.header("idempotent-replayed", "true");
  const created = isReplay ? 200 : 201;
  if (seconds === 0) return c.json(view(c, record), created);

  c.header("preference-applied", `wait=${seconds}`);
  const waited = await waitForEnd(c.env, record.id, keyName, seconds * 1_000);
  // Replicate's client takes every status but `starting` for the end.
  const status = isFinal(waited.status) ? waited.status : "starting";
  return c.json(view(c, waited, status), created);
}

/** `GET /v1/predictions`: the key's own, newest first. */
export async function listPredictions(c: AppContext): Promise<Response> {
  const query = listQuery(c);
  const keyName = c.get("keyName");
  const page = await hubOfShard(c.env, shardOfKey(c.env, keyName)).list(keyName, query);
  const origin = originOf(configOf(c.env), c.req.url);
  c.header("cache-control", "no-store");
  return c.json({
    previous: pageUrl(c, origin, page.previous),
    next: pageUrl(c, origin, page.next),
    results: page.records.map((record) => view(c, record)),
  });
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
