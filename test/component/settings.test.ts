// docs/settings.md says what the code reads.

import { globSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import { STREAMS } from "@vqd/shared/subjects.ts";
import { configOf, configSchema, type Variables } from "../../edge/config.ts";
import type { Command } from "../../gpu-worker/cli/command.ts";
import { edgeVariables, SETTINGS_PAGE, settingsPage } from "../../infra/settings.ts";
import { START_VARIABLES } from "../../infra/stack/options.ts";
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

const section = (title: string): string => page.split(`### ${title}\n`)[1]?.split("\n### ")[0] ?? "";

it("has every option of npm start, each with its variable", () => {
  const help = section("npm start");
  for (const [option, variable] of Object.entries(START_VARIABLES)) {
    expect(help).toMatch(new RegExp(`--${option} .*${variable}`));
  }
});

it("has every option that the commands of vqd read", async () => {
  const folder = join(REPO, "gpu-worker", "cli", "commands");
  const modules: object[] = await Promise.all(
    globSync("**/*.ts", { cwd: folder }).map((file) => import(join(folder, file)) as Promise<object>),
  );
  const commands = modules
    .flatMap((module) => Object.entries<unknown>(module as Record<string, unknown>))
    .filter((entry): entry is [string, Command] => typeof (entry[1] as Partial<Command>)?.run === "function");
  expect(commands.length).toBeGreaterThan(10);
  for (const [name, { options }] of commands) {
    const help = section(`npm run vqd -- ${name}`);
    const missing = Object.keys(options).filter((option) => !help.includes(`--${option} `));
    expect(missing, name).toEqual([]);
  }
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
