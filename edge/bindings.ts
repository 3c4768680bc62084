// The edge's bindings, as wrangler.toml declares them.

import type { Hub, HubEnv } from "./hub/hub.ts";

export interface Env extends HubEnv {
  readonly HUB: DurableObjectNamespace<Hub>;
  /** API keys, stored under their hashes; see shared/api-key.ts. */
  readonly KEYS: KVNamespace;
  /** The static files of the pages. */
  readonly PAGES: Fetcher;
}
