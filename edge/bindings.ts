// The edge's bindings, as wrangler.toml declares them.

import type { Hub, HubEnv } from "./hub/hub.ts";

export interface Env extends HubEnv {
  readonly HUB: DurableObjectNamespace<Hub>;
  /** API keys by their hashes; see shared/api-key.ts. */
  readonly KEYS: KVNamespace;
  /** The pages' files. */
  readonly PAGES: Fetcher;
}
