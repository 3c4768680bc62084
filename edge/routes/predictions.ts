// Replicate's predictions resource.

import { VqdError } from "@vqd/shared/errors.ts";
import type { z } from "zod";
import { readJsonWithFiles } from "../http/body/body.ts";
import { choiceKeyOf, submissionOf } from "../http/submission.ts";
import type { AppContext } from "../http/context.ts";
import { isFinal } from "../prediction/statuses.ts";
import type { PredictionRecord, Webhook } from "../prediction/records.ts";
import { unwrap } from "../prediction/hub-result.ts";
import { WEBHOOK_EVENTS } from "../prediction/webhook-events.ts";
import { idempotencyOf, idempotencyOfId } from "../http/idempotency.ts";
import { beginningOf, filesOf, forkOfInput, identityOf } from "../http/inputs.ts";
import { type FieldPath, refuser } from "../service/complete-input.ts";
import { checkForkModel } from "../service/inputs/fork.ts";
import { listModels, resolveModel, retirementOf } from "../service/models.ts";
import { listAnswer, predictionQuery } from "../http/pagination.ts";
import { actorOf } from "./accounting/audit.ts";
import { dataUrls } from "./data-urls.ts";
import { preferredWait } from "../http/prefer.ts";
import { type PredictionView, viewPrediction, withoutContent } from "../prediction/view.ts";
import { setRateHeaders } from "../http/rate-headers.ts";
import { createPredictionSchema } from "../service/schemas.ts";
import { predictionIdOf } from "../service/prediction-id.ts";
import { submitPrediction } from "../service/submit.ts";
import { originOf } from "../http/urls.ts";
import { predictionUrl } from "../prediction/urls.ts";
import { invalidInput, validate } from "../http/body/validation.ts";
import { waitForEnd } from "../service/wait.ts";
import { urlComplaint } from "../util/public-url.ts";

function view(c: AppContext, record: PredictionRecord, status = record.status): PredictionView {
  const config = c.get("config");
  return viewPrediction(record, { origin: originOf(config, c.req.url), retention: config, status });
}

/** The webhook that the body asks for, if any. Throws a VqdError (invalid_input) for a URL that must not be called. */
function webhookOf(c: AppContext, body: z.infer<typeof createPredictionSchema>): Webhook | null {
  const { webhook: url, webhook_events_filter: filter } = body;
  if (url === undefined || url === null || url === "") {
    if (filter && filter.length > 0) {
      throw invalidInput([{ path: "webhook_events_filter", message: "requires webhook" }]);
    }
    return null;
  }
  const complaint = urlComplaint(url, c.get("config").webhookUrls);
  if (complaint !== undefined) throw invalidInput([{ path: "webhook", message: complaint }]);
  return { url, events: filter && filter.length > 0 ? filter : WEBHOOK_EVENTS };
}

/**
 * `POST /v1/predictions`, or `POST /v1/models/{owner}/{name}/predictions` with the model in the path, or
 * `PUT /v1/predictions/{id}` with an id of the caller's own.
 */
export async function createPrediction(c: AppContext): Promise<Response> {
  const body = validate(createPredictionSchema, await readJsonWithFiles(c.req.raw, filesOf));
  const [config, hubs, keyName] = [c.get("config"), c.get("hubs"), c.get("keyName")];
  const models = await listModels(hubs);
  const owner = c.req.param("owner");
  const fromPath = owner === undefined ? undefined : `${owner}/${c.req.param("name") ?? ""}`;
  const again = [
    ...(body.model && (fromPath ?? body.version) ? ["model"] : []),
    ...(body.version && fromPath !== undefined ? ["version"] : []),
  ];
  if (again.length > 0) {
    const message = "must be omitted: the model is already given";
    throw invalidInput(again.map((path) => ({ path, message })));
  }
  const pathOf: FieldPath = (field) => `input.${field}`;
  const refuse = refuser(pathOf);
  const fork = await forkOfInput(c, body.input, refuse);
  const reference = fromPath ?? body.version ?? body.model ?? fork?.version;
  const model = resolveModel(models, reference, config, { key: choiceKeyOf(c), preferred: fork?.version });
  if (fork !== undefined) checkForkModel(fork, model, refuse);
  if (model === undefined) {
    const retired = retirementOf(models, reference, config);
    if (fromPath !== undefined) {
      throw new VqdError("not_found", `the model ${fromPath} ${retired ?? "does not exist"}`);
    }
    const message = retired ?? "is not the name of an available model; see GET /v1/models";
    throw invalidInput([{ path: body.model ? "model" : "version", message }]);
  }
  const seconds = preferredWait(c.req.header("prefer"));
  const asData = body.output_encoding === "data-uri";
  if (asData && seconds === 0) {
    throw invalidInput([{ path: "output_encoding", message: "requires the header Prefer: wait" }]);
  }
  const origin = originOf(config, c.req.url);
  const beginning = await beginningOf(c, body.input, model, refuse);
  const identity = { ...body, input: identityOf(body.input, beginning) };
  const { record, rate } = await submitPrediction(hubs, config, {
    input: body.input,
    beginning,
    fork,
    model,
    ...submissionOf(c),
    idempotency: await (c.req.method === "PUT" ? idempotencyOfId : idempotencyOf)(c, identity),
    priority: body.priority,
    pathOf,
    webhook: webhookOf(c, body),
  });
  c.header("location", predictionUrl(origin, record.ownId ?? record.id));
  if (rate === null) c.header("idempotent-replayed", "true");
  else setRateHeaders(c, rate);
  const created = rate === null ? 200 : 201;
  if (seconds === 0) return c.json(view(c, record), created);

  c.header("preference-applied", `wait=${seconds}`);
  c.get("leaveTurn")();
  const waited = await waitForEnd(hubs, record.id, keyName, seconds * 1_000);
  // Replicate's client takes any status other than `starting` as final.
  const status = isFinal(waited.status) ? waited.status : "starting";
  const data = asData && waited.status === "succeeded" ? await dataUrls(c.env.FILES, waited) : undefined;
  return c.json({ ...view(c, waited, status), ...(data === undefined ? {} : { output: data }) }, created);
}

/** `GET /v1/predictions`: those of the key's owner, newest first; of a status, of a model, or by a part of the id. */
export async function listPredictions(c: AppContext): Promise<Response> {
  const query = predictionQuery(c);
  const keyName = c.get("keyName");
  const page = unwrap(await c.get("hubs").own.list(keyName, query));
  return listAnswer(
    c,
    page,
    page.records.map((record) => view(c, record)),
  );
}

/** `GET /v1/predictions/{id}` */
export async function getPrediction(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  const record = unwrap(await c.get("hubs").ofPrediction(id).get(id, c.get("keyName")));
  c.header("cache-control", "no-store");
  return c.json(view(c, record));
}

/** `POST /v1/predictions/{id}/cancel` */
export async function cancelPrediction(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  const canceled = view(
    c,
    unwrap(await c.get("hubs").ofPrediction(id).cancel(id, c.get("keyName"), actorOf(c))),
  );
  return c.json(c.get("apiKey").scopes.includes("read") ? canceled : withoutContent(canceled));
}

/** `DELETE /v1/predictions/{id}`: with its images, events and webhooks. */
export async function deletePrediction(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  unwrap(await c.get("hubs").ofPrediction(id).delete(id, c.get("keyName"), actorOf(c)));
  return c.body(null, 204);
}
