// What the middleware passes on to the handlers.

import type { KnownKey } from "@vqd/shared/api-key.ts";
import type { Logger } from "@vqd/shared/log.ts";
import type { Context } from "hono";
import type { Env } from "../bindings.ts";
import type { Config } from "../config.ts";
import type { Hubs } from "../service/hubs.ts";
import type { ErrorDialect } from "./error-answer.ts";

/** Properties of a route other than its handlers. */
export interface RouteTraits {
  /** Its pattern, such as "/v1/predictions/:id". */
  readonly path: string;
  /** The dialect of its errors. */
  readonly errors: ErrorDialect;
  /** Its URLs contain a capability, so the pattern is logged instead. */
  readonly secret?: true;
  /** Probes and scrapers request it every few seconds, so requests are logged at debug level. */
  readonly quiet?: true;
}

export interface AppEnv {
  Bindings: Env;
  Variables: {
    route: RouteTraits;
    requestId: string;
    config: Config;
    hubs: Hubs;
    /** Identifies the request's span to whatever continues the trace; undefined if the request is not traced. */
    traceparent: string | undefined;
    log: Logger;
    /** Owner of the request's key; set on routes that require one. */
    keyName: string;
    /** The key's scopes and limits; set together with `keyName`. */
    apiKey: KnownKey;
    /** Of the prediction that the request makes, if it does; see submission.ts. */
    newId: string | undefined;
    /** Lets other requests of the owner go on; to be called before this one waits for long. */
    leaveTurn: () => void;
  };
}

export type AppContext = Context<AppEnv>;
