// What the middleware leaves for the handlers.

import type { ApiKey } from "@vqd/shared/api-key.ts";
import type { Logger } from "@vqd/shared/log.ts";
import type { Context } from "hono";
import type { Env } from "../bindings.ts";
import type { Config } from "../config.ts";
import type { Hubs } from "../service/hubs.ts";
import type { ErrorDialect } from "./error-answer.ts";

/** What a route says of itself beside its handlers. */
export interface RouteTraits {
  /** Its pattern, "/v1/predictions/:id". */
  readonly path: string;
  /** The dialect of its errors. */
  readonly errors: ErrorDialect;
  /** Its URLs hold a capability: what is logged of them is the pattern. */
  readonly secret?: true;
  /** Probes and scrapers request it every few seconds, so that is logged at the debug level. */
  readonly quiet?: true;
}

export interface AppEnv {
  Bindings: Env;
  Variables: {
    route: RouteTraits;
    requestId: string;
    config: Config;
    hubs: Hubs;
    /** Names the request's span to those who go on elsewhere; undefined where it is not traced. */
    traceparent: string | undefined;
    log: Logger;
    /** Owner of the request's key; set on routes that need one. */
    keyName: string;
    /** What the key may do; set with `keyName`. */
    apiKey: ApiKey;
  };
}

export type AppContext = Context<AppEnv>;
