// Known vulnerabilities of packages that are shipped: by the registry's audit, or, where that does not answer, by a list.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { satisfies } from "semver";
import { z } from "zod";
import { REPO } from "../stack/paths.ts";
import type { ShippedPackage } from "./shipped.ts";

const AUDIT_LIMIT_MS = 60_000;
const MAX_OUTPUT_BYTES = 64 * 1024 ** 2;

const listSchema = z.strictObject({
  /** Date, ISO 8601. */
  collected: z.iso.date(),
  note: z.string(),
  advisories: z.array(
    z.strictObject({
      package: z.string(),
      /** Range of versions. */
      vulnerable: z.string(),
      severity: z.enum(["low", "moderate", "high", "critical"]),
      /** In GitHub's advisory database. */
      ids: z.array(z.string().regex(/^GHSA(-[2-9cfghjmpqrvwx]{4}){3}$/)).min(1),
    }),
  ),
});
export type AdvisoryList = z.infer<typeof listSchema>;

/** `npm audit --json`, as far as it matters. */
const auditSchema = z.object({
  auditReportVersion: z.literal(2),
  vulnerabilities: z.record(
    z.string(),
    z.object({
      severity: z.string(),
      range: z.string(),
      via: z.array(z.union([z.string(), z.object({ title: z.string(), url: z.string() })])),
    }),
  ),
});

export const readAdvisoryList = (): AdvisoryList =>
  listSchema.parse(JSON.parse(readFileSync(join(import.meta.dirname, "advisories.json"), "utf8")));

/** One line for each package with an advisory of the list. */
export const listedProblems = (packages: readonly ShippedPackage[], { advisories }: AdvisoryList): string[] =>
  packages.flatMap(({ name, version }) =>
    advisories
      .filter(
        (one) => one.package === name && satisfies(version, one.vulnerable, { includePrerelease: true }),
      )
      .map(({ severity, ids }) => `${name} ${version}: ${severity}, ${ids.join(", ")}`),
  );

/** One line for each package with an advisory of the registry; undefined if `output` is not an audit's. */
export function auditProblems(output: string): string[] | undefined {
  const parsed = auditSchema.safeParse(jsonOf(output));
  if (!parsed.success) return undefined;
  return Object.entries(parsed.data.vulnerabilities).map(([name, { severity, range, via }]) => {
    const reasons = via.map((one) => (typeof one === "string" ? `by ${one}` : `${one.title} (${one.url})`));
    return `${name} ${range}: ${severity}, ${reasons.join("; ")}`;
  });
}

function jsonOf(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** What `npm audit` prints, whether it finds something or fails. */
export async function runAudit(): Promise<string> {
  const args = ["audit", "--omit=dev", "--package-lock-only", "--json", "--fetch-retries=0"];
  const { promise, resolve } = Promise.withResolvers<string>();
  const options = { cwd: REPO, timeout: AUDIT_LIMIT_MS, maxBuffer: MAX_OUTPUT_BYTES };
  execFile("npm", args, options, (_error, stdout) => resolve(stdout));
  return promise;
}
