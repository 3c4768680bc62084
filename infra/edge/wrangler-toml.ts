// The settings in wrangler.toml that a self-hosted edge needs.

import { readFileSync } from "node:fs";
import { join } from "node:path";
import { parse } from "smol-toml";
import { z } from "zod";
import { REPO } from "../stack/paths.ts";

/** Has no meaning outside Cloudflare. */
const elsewhere = z.unknown().optional();

/** Strict, so that a new binding in wrangler.toml cannot be forgotten here. */
const schema = z.strictObject({
  name: z.string(),
  main: z.string(),
  compatibility_date: z.iso.date(),
  compatibility_flags: z.array(z.string()),
  durable_objects: z.strictObject({
    bindings: z.tuple([z.strictObject({ name: z.literal("HUB"), class_name: z.literal("Hub") })]),
  }),
  r2_buckets: z.tuple([z.strictObject({ binding: z.literal("FILES"), bucket_name: z.string() })]),
  kv_namespaces: z.tuple([z.strictObject({ binding: z.literal("KEYS") })]),
  assets: z.looseObject({ directory: z.string(), binding: z.literal("PAGES") }),
  vars: z.record(z.string(), z.string()),
  rules: elsewhere,
  migrations: elsewhere,
  observability: elsewhere,
  send_metrics: elsewhere,
  env: elsewhere,
});

export type WranglerToml = z.infer<typeof schema>;

/** Throws an Error that names what is missing or unknown. */
export function readWranglerToml(): WranglerToml {
  const parsed = schema.safeParse(parse(readFileSync(join(REPO, "wrangler.toml"), "utf8")));
  if (parsed.success) return parsed.data;
  throw new Error(`wrangler.toml: unexpected content: ${z.prettifyError(parsed.error)}`);
}
