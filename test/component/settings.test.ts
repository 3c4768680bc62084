// docs/settings.md says what the code reads.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { STREAMS } from "@vqd/shared/subjects.ts";
import { configOf, configSchema, type Variables } from "../../edge/config.ts";
import { edgeVariables, SETTINGS_PAGE, settingsPage } from "../../infra/settings.ts";
import { REPO } from "../../infra/stack/paths.ts";

const page = readFileSync(SETTINGS_PAGE, "utf8");
const edge = edgeVariables(readFileSync(join(REPO, "wrangler.toml"), "utf8"));
const development = edge.filter(({ value }) => value !== undefined);

it("is what infra/settings.ts makes of the code; if not, run: npx node infra/settings.ts", async () => {
  expect(page).toBe(await settingsPage());
});

it("has every variable of the project that any file names", () => {
  // Names of streams, and what tests say to the processes that they start.
  const others = new Set<string>([...Object.values(STREAMS), "VQD_DOCTOR"]);
  const files = globSync("{edge,gpu-worker,infra,shared,test}/**/*.{ts,mjs}", {
    cwd: REPO,
    exclude: (path) => path.includes("node_modules"),
  });
  const code = files
    .map((file) => readFileSync(join(REPO, file), "utf8").replaceAll(/^ *(?:\/\/|\/\*\*|\*).*/gm, ""))
    .join("\n");
  const named = new Set([...code.matchAll(/\bVQD_[A-Z_]*[A-Z]\b/g)].map(([name]) => name));
  const variables = [...named].filter((name) => !others.has(name) && !name.startsWith("VQD_TEST_"));
  expect(variables.length).toBeGreaterThan(35);
  expect(variables.filter((name) => !new RegExp(String.raw`\b${name}\b`).test(page))).toEqual([]);
});

describe("of the edge", () => {
  it("has each variable that it checks, and no other", () => {
    expect(edge.map(({ name }) => name).toSorted()).toEqual(Object.keys(configSchema.shape).toSorted());
    expect(edge.filter(({ description }) => description === "")).toEqual([]);
  });

  it("has the defaults that it takes", () => {
    const values = Object.fromEntries(development.map(({ name, value }) => [name, value]));
    const { NATS_URL } = values;
    expect(configOf(values as unknown as Variables)).toEqual(configOf({ NATS_URL } as unknown as Variables));
  });

  it("has a value in production for each variable, as environments inherit none", () => {
    expect(development.filter(({ production }) => production === undefined)).toEqual([]);
  });
});
