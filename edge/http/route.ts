// A row of the table of routes.

import type { Scope } from "@vqd/shared/api-key.ts";
import type { Handler } from "hono";
import type { AppEnv, RouteTraits } from "./context.ts";

export interface Route extends RouteTraits {
  /** Needs no key: the path itself is a secret, or there is nothing to protect; "get": only GET needs none. */
  readonly open?: true | "get";
  /** The scope that the key must have; `read` for GET and QUERY, and `create` for others by default. */
  readonly scope?: Scope | "any";
  readonly get?: Handler<AppEnv>;
  readonly post?: Handler<AppEnv>;
  readonly put?: Handler<AppEnv>;
  readonly delete?: Handler<AppEnv>;
  readonly query?: Handler<AppEnv>;
}
