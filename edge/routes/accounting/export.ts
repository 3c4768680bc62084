// What all owners have used, prediction by prediction, for whoever bills them.

import { invalidInput } from "../../http/body/validation.ts";
import type { AppContext } from "../../http/context.ts";
import { originOf } from "../../http/urls.ts";
import { unwrap } from "../../prediction/hub-result.ts";
import type { UsageLine } from "../../prediction/accounting/usage.ts";
import { limitOf } from "./limit.ts";

export const MAX_LINES = 5_000;
export const DEFAULT_LINES = 1_000;
/** The number of the last line read of each hub, in their order. */
const CURSOR = /^\d{1,15}(?:\.\d{1,15}){0,1023}$/;

/** Where the caller has stopped in each hub. Those that have been added since are read from their first line on. */
function placesOf(c: AppContext, shards: number): number[] {
  const text = c.req.query("cursor") ?? "";
  const places = text === "" ? [] : text.split(".").map(Number);
  if ((text !== "" && !CURSOR.test(text)) || places.length > shards) {
    throw invalidInput([{ path: "cursor", message: "was not issued by this export" }]);
  }
  return Array.from({ length: shards }, (_, shard) => places[shard] ?? 0);
}

const lineOf = ({ id, owner, keyId, model, version, status, ...used }: UsageLine): string =>
  JSON.stringify({
    id,
    owner,
    key: keyId === "" ? null : keyId,
    model,
    version,
    status,
    created_at: new Date(used.createdAt).toISOString(),
    completed_at: new Date(used.completedAt).toISOString(),
    images: used.images,
    steps: used.steps,
    gpu_seconds: used.gpuMs / 1_000,
  });

/**
 * `GET /v1/usage/export`: lines of JSON, hub by hub, each in the order in which its predictions have ended. The link says where to go on,
 * also after the last line.
 */
export async function exportUsage(c: AppContext): Promise<Response> {
  const hubs = c.get("hubs");
  const limit = limitOf(c, DEFAULT_LINES, MAX_LINES);
  const places = placesOf(c, hubs.shards);
  const lines: string[] = [];
  for (const [shard, place] of places.entries()) {
    if (lines.length === limit) break;
    const found = unwrap(await hubs.ofShard(shard).usageLines(place, limit - lines.length));
    for (const line of found) lines.push(`${lineOf(line)}\n`);
    places[shard] = found.at(-1)?.seq ?? place;
  }
  const url = new URL(c.req.url);
  url.searchParams.set("cursor", places.join("."));
  c.header("link", `<${originOf(c.get("config"), c.req.url)}${url.pathname}${url.search}>; rel="next"`);
  c.header("cache-control", "no-store");
  return c.body(lines.join(""), 200, { "content-type": "application/x-ndjson" });
}
