// Fairness between the owners of keys within an isolate, before a request's body is read and a hub is asked. What owners may do in
// all, hubs count exactly; this keeps one owner's requests from delaying those of others.

import { createMiddleware } from "hono/factory";
import type { Env } from "../bindings.ts";
import type { AppContext, AppEnv } from "../http/context.ts";
import { OwnerTurns } from "./owner-turns.ts";
import { Refusals } from "./refusals.ts";

interface Fairness {
  readonly turns: OwnerTurns;
  readonly refusals: Refusals;
}

const byEnv = new WeakMap<Env, Fairness>();

function fairnessOf(env: Env): Fairness {
  let fairness = byEnv.get(env);
  if (fairness === undefined) {
    byEnv.set(env, (fairness = { turns: new OwnerTurns(), refusals: new Refusals() }));
  }
  return fairness;
}

/** What the request asks for, as far as limits are concerned; undefined if it may be answered whatever was refused before. */
function askedFor(c: AppContext): string | undefined {
  const { method } = c.req;
  // What was created before is found again, without a limit.
  if (method === "PUT" || c.req.header("idempotency-key") !== undefined) return undefined;
  const { perMinute, live } = c.get("apiKey");
  return [c.get("keyName"), perMinute, live, method, c.get("route").path].join(" ");
}

/** Runs `work` in the owner's turn. */
export async function inTurn<T>(c: AppContext, work: () => Promise<T>): Promise<T> {
  const leave = await fairnessOf(c.env).turns.take(c.get("keyName"));
  try {
    return await work();
  } finally {
    leave();
  }
}

/** For requests whose key is known. A handler that waits for something else ends its turn with `leaveTurn`. */
export const fairShare = createMiddleware<AppEnv>(async (c, next) => {
  const { turns, refusals } = fairnessOf(c.env);
  const asked = askedFor(c);
  if (asked !== undefined) await refusals.check(asked);
  const leave = await turns.take(c.get("keyName"));
  c.set("leaveTurn", leave);
  try {
    await next();
  } finally {
    leave();
  }
  if (asked !== undefined) refusals.note(asked, c.error);
});
