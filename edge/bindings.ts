// The edge's bindings, as wrangler.toml declares them.

import type { Hub } from "./hub/hub.ts";
import type { HubEnv } from "./hub/parts.ts";

export interface Env extends HubEnv {
  readonly HUB: DurableObjectNamespace<Hub>;
  /** API keys, stored under their hashes; see shared/api-key.ts. */
  readonly KEYS: KVNamespace;
  /** The static files of the pages. */
  readonly PAGES: Fetcher;
}
