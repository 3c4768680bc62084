// Paths in the repository.

import { join } from "node:path";

export const REPO = join(import.meta.dirname, "..", "..");
/** Node 24, from the npm package `node`, whatever the system has. */
export const NODE = join(REPO, "node_modules", ".bin", "node");
export const EDGE_SERVE = join(REPO, "infra", "edge", "serve.ts");
export const WRANGLER = join(REPO, "node_modules", ".bin", "wrangler");
export const WORKER_MAIN = join(REPO, "gpu-worker", "main.ts");
export const BUNDLED_MODEL = join(REPO, "gpu-worker", "checkpoints", "scenes");
export const DEFAULT_DATA = join(REPO, ".vqd");
