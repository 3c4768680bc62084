// Health: whether a prediction created now would be served.

import type { AppContext } from "../http/context.ts";
import { listModels } from "../service/models.ts";
import { errorFields } from "@vqd/shared/log.ts";

/** `GET /healthz`: 200 if NATS is connected and a model has been announced, else 503; the body says what is missing. */
export async function getHealth(c: AppContext): Promise<Response> {
  c.header("cache-control", "no-store");
  const hubs = c.get("hubs");
  try {
    const { nats, live } = await hubs.ofShard(0).health();
    // Any hub will do: all of them see the same models.
    const { versions: models } = await listModels(hubs, "");
    const isReady = nats === "connected" && models.length > 0;
    return c.json(
      {
        status: isReady ? "ready" : "unavailable",
        hub: "ok",
        nats,
        live_predictions: live,
        models: models.map(({ name, version }) => ({ name, version })),
      },
      isReady ? 200 : 503,
    );
  } catch (error) {
    c.get("log").error("the hub does not respond", errorFields(error));
    return c.json(
      { status: "unavailable", hub: "failed", nats: "unknown", live_predictions: 0, models: [] },
      503,
    );
  }
}
