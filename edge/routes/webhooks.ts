// The signing secret of webhooks, events to try a receiver, delivery attempts, and redelivery.

import { readJson } from "../http/body/body.ts";
import { invalidInput, validate } from "../http/body/validation.ts";
import type { AppContext } from "../http/context.ts";
import { originOf } from "../http/urls.ts";
import { testPrediction } from "../service/test-event.ts";
import { listModels } from "../service/models.ts";
import { testWebhookSchema } from "../service/schemas.ts";
import { urlComplaint } from "../util/public-url.ts";
import { predictionIdOf } from "../service/prediction-id.ts";
import { actorOf } from "./accounting/audit.ts";
import { unwrap } from "../prediction/hub-result.ts";

const ownHub = (c: AppContext) => c.get("hubs").own;

/** `GET /v1/webhooks/default/secret` */
export async function getWebhookSecret(c: AppContext): Promise<Response> {
  c.header("cache-control", "no-store");
  return c.json({ key: unwrap(await ownHub(c).webhookSecret(c.get("keyName"), actorOf(c))) });
}

/** `POST /v1/webhooks/default/secret/rotate` */
export async function rotateWebhookSecret(c: AppContext): Promise<Response> {
  const rotated = await ownHub(c).rotateWebhookSecret(c.get("keyName"), actorOf(c));
  const { secret, oldUntil } = unwrap(rotated);
  c.header("cache-control", "no-store");
  return c.json({ key: secret, old_key_signs_until: new Date(oldUntil).toISOString() });
}

/** `POST /v1/webhooks/default/test`: answers when the receiver has, or has had its time. */
export async function testWebhook(c: AppContext): Promise<Response> {
  const { url } = validate(testWebhookSchema, await readJson(c.req.raw));
  const config = c.get("config");
  const complaint = urlComplaint(url, config.webhookUrls);
  if (complaint !== undefined) throw invalidInput([{ path: "url", message: complaint }]);
  const keyName = c.get("keyName");
  const { versions } = await listModels(c.get("hubs"));
  const body = testPrediction({
    url,
    origin: originOf(config, c.req.url),
    model: versions[0],
    retention: config,
    now: Date.now(),
  });
  c.get("leaveTurn")();
  const { id, status, error, ms } = unwrap(await ownHub(c).testWebhook(keyName, url, JSON.stringify(body)));
  c.header("cache-control", "no-store");
  return c.json({
    id,
    delivered: status !== null && status >= 200 && status < 300,
    status,
    error,
    duration_ms: ms,
  });
}

/** `GET /v1/predictions/{id}/webhook-attempts` */
export async function getWebhookAttempts(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  const log = unwrap(await c.get("hubs").ofPrediction(id).webhookLog(id, c.get("keyName")));
  const iso = (ms: number | null): string | null => (ms === null ? null : new Date(ms).toISOString());
  c.header("cache-control", "no-store");
  return c.json({
    webhook: log.webhook,
    results: log.deliveries.map(({ delivery, attempts }) => ({
      id: delivery.id,
      event: delivery.event,
      state: delivery.state,
      next_attempt_at: iso(delivery.nextAt),
      attempts: attempts.map(({ at, status, error, ms }) => ({
        at: iso(at),
        status,
        error,
        duration_ms: ms,
      })),
    })),
  });
}

/** `POST /v1/predictions/{id}/webhook-attempts/redeliver`: sends `completed` again, with the full retry schedule. */
export async function redeliverWebhook(c: AppContext): Promise<Response> {
  const id = await predictionIdOf(c);
  unwrap(await c.get("hubs").ofPrediction(id).redeliverWebhook(id, c.get("keyName")));
  return c.json({ status: "queued" }, 202);
}
