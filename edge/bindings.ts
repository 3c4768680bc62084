// The edge's bindings and variables, as wrangler.toml declares them.

import type { Hub } from "./hub/hub.ts";

/** wrangler.toml explains each variable. */
export interface Env {
  readonly HUB: DurableObjectNamespace<Hub>;
  readonly FILES: R2Bucket;
  /** API keys by their hashes; see shared/api-key.ts. */
  readonly KEYS: KVNamespace;
  /** The pages' files. */
  readonly PAGES: Fetcher;
  readonly NATS_URL: string;
  readonly NATS_USER?: string;
  readonly NATS_PASSWORD?: string;
  readonly NATS_CREDS?: string;
  readonly API_KEYS?: string;
  readonly DEFAULT_MODEL?: string;
  readonly HUB_SHARDS?: string;
  readonly PUBLIC_URL?: string;
  readonly QUEUE_TIMEOUT_SECONDS?: string;
  readonly MAX_WAIT_SECONDS?: string;
  readonly RUN_TIMEOUT_SECONDS?: string;
  readonly FILE_RETENTION_SECONDS?: string;
  readonly RECORD_RETENTION_SECONDS?: string;
  readonly STEP_RETENTION_SECONDS?: string;
  readonly RATE_LIMIT_PER_MINUTE?: string;
  readonly LIVE_LIMIT?: string;
  readonly CORS_ORIGINS?: string;
  readonly WEBHOOK_RETRY_SECONDS?: string;
  readonly WEBHOOK_ALLOW_LOOPBACK?: string;
  readonly LOG_LEVEL?: string;
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string;
  readonly OTEL_EXPORTER_OTLP_HEADERS?: string;
  readonly OTEL_TRACES_SAMPLER_ARG?: string;
}
