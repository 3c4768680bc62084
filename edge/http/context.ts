// What the middleware leaves for the handlers.

import type { ApiKey } from "@vqd/shared/api-key.ts";
import type { Logger } from "@vqd/shared/log.ts";
import type { Context } from "hono";
import type { Env } from "../bindings.ts";
import type { ErrorDialect } from "./problem.ts";

export interface AppEnv {
  Bindings: Env;
  Variables: {
    requestId: string;
    /** Names the request's span to those who go on elsewhere; undefined where it is not traced. */
    traceparent: string | undefined;
    log: Logger;
    /** Owner of the request's key; set on routes that need one. */
    keyName: string;
    /** What the key may do; set with `keyName`. */
    apiKey: ApiKey;
    dialect: ErrorDialect;
  };
}

export type AppContext = Context<AppEnv>;
