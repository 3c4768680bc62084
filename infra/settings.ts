// `node_modules/.bin/node infra/settings.ts` generates docs/settings.md from the code: the worker's schema, wrangler.toml, and
// the --help of each command.

import { execFile } from "node:child_process";
import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Command } from "../gpu-worker/cli/command.ts";
import { convert } from "../gpu-worker/cli/commands/convert.ts";
import { decode } from "../gpu-worker/cli/commands/decode.ts";
import { doctor } from "../gpu-worker/cli/commands/doctor.ts";
import { encode } from "../gpu-worker/cli/commands/encode.ts";
import { generate } from "../gpu-worker/cli/commands/generate.ts";
import { golden } from "../gpu-worker/cli/commands/golden.ts";
import { build } from "../gpu-worker/cli/commands/build.ts";
import { inspect } from "../gpu-worker/cli/commands/inspect.ts";
import { parity } from "../gpu-worker/cli/commands/parity.ts";
import { pull } from "../gpu-worker/cli/commands/pull.ts";
import { join as joinStack } from "../gpu-worker/cli/commands/workers/join.ts";
import { models } from "../gpu-worker/cli/commands/models.ts";
import { streams } from "../gpu-worker/cli/commands/streams.ts";
import { verify } from "../gpu-worker/cli/commands/verify.ts";
import { workers } from "../gpu-worker/cli/commands/workers/workers.ts";
import { describeVariables } from "../gpu-worker/cli/variables.ts";
import { tracingVariables, workerVariables } from "../gpu-worker/config.ts";
import { NODE, REPO } from "./stack/paths.ts";

export const SETTINGS_PAGE = join(REPO, "docs", "settings.md");

/** Commands by how they are called, each with the script and the arguments before `--help`. */
type Commands = Readonly<Record<string, readonly string[]>>;

const OPERATION: Commands = {
  "npm start": ["infra/run.mjs", "start"],
  "npm run keys": ["infra/keys.ts"],
  "npm run cluster": ["infra/nats/cluster/main.ts"],
  "npm run k8s": ["infra/k8s/render.ts"],
};

const DEVELOPMENT: Commands = {
  "npm test": ["infra/run.mjs", "test"],
  "npm run chaos": ["test/chaos/main.ts"],
  "npm run abuse": ["test/bench/abuse.ts"],
  "npm run bench": ["test/bench/main.ts"],
  ...Object.fromEntries(
    ["parts", "edge", "load", "cancel", "simulate"].map((name) => [
      `npm run bench -- ${name}`,
      ["test/bench/main.ts", name],
    ]),
  ),
};

/** Commands of `vqd`, except `worker`, whose settings are in the table of variables. */
const CLI: readonly Command[] = [
  generate,
  pull,
  inspect,
  build,
  convert,
  encode,
  decode,
  verify,
  parity,
  golden,
  streams,
  models,
  joinStack,
  workers,
  doctor,
];

export interface EdgeVariable {
  readonly name: string;
  readonly description: string;
  /** The values in development and in the environment `production`; a secret has neither. */
  readonly value: string | undefined;
  readonly production: string | undefined;
}

/** The variables in wrangler.toml and, commented out there, the secrets; the comment above each describes it. */
export function edgeVariables(toml: string): EdgeVariable[] {
  const section = (name: string): string => toml.split(`[${name}]\n`)[1]?.split(/^\[/m)[0] ?? "";
  const valueOf = (name: string, text: string): string | undefined =>
    new RegExp(`^${name} = "(.*)"$`, "m").exec(text)?.[1];
  const [vars, production] = [section("vars"), section("env.production.vars")];
  const declared = /((?:^# (?![A-Z_]+ = ").*\n)+)^(?:# )?([A-Z_]+) = "/gm;
  return [...vars.matchAll(declared)].map(([, comment = "", name = ""]) => ({
    name,
    description: comment.replaceAll(/^# /gm, "").trim().replaceAll("\n", " "),
    value: valueOf(name, vars),
    production: valueOf(name, production),
  }));
}

/** A Markdown table in oxfmt's layout. */
function table(head: readonly string[], rows: readonly (readonly string[])[]): string {
  const cells = [head, ...rows].map((row) => row.map((cell) => cell.replaceAll("|", String.raw`\|`)));
  const widths = head.map((_, column) => Math.max(...cells.map((row) => row[column]?.length ?? 0)));
  const line = (row: readonly string[], fill = " "): string =>
    `| ${row.map((cell, column) => cell.padEnd(widths[column] ?? 0, fill)).join(" | ")} |`;
  const [first = [], ...others] = cells;
  return [
    line(first),
    line(
      head.map(() => ""),
      "-",
    ),
    ...others.map((row) => line(row)),
  ].join("\n");
}

const code = (text: string): string => (text === "" ? "" : `\`${text}\``);

type Help = readonly [name: string, text: string];

const helpsOf = (commands: Commands): Promise<Help[]> =>
  Promise.all(
    Object.entries(commands).map(async ([name, [script = "", ...args]]): Promise<Help> => {
      const { stdout } = await promisify(execFile)(NODE, [join(REPO, script), ...args, "--help"]);
      return [name, stdout.trimEnd()];
    }),
  );

export async function settingsPage(): Promise<string> {
  const worker = describeVariables({ ...workerVariables, ...tracingVariables });
  const edge = edgeVariables(readFileSync(join(REPO, "wrangler.toml"), "utf8"));
  const [operation, development] = await Promise.all([helpsOf(OPERATION), helpsOf(DEVELOPMENT)]);
  const vqd = CLI.map(({ help }): Help => {
    const name = /^Usage: vqd (\w+)/.exec(help)?.[1] ?? "";
    return [`npm run vqd -- ${name}`, help.trimEnd()];
  });
  return `# Settings

<!-- Generated by infra/settings.ts from the code; a test compares them. -->

An empty variable counts as unset. Options of a command take precedence over variables.

## GPU worker

Environment variables of \`npm run worker\`, of the workers of \`npm start\` and, those of the model and of NATS, of \`vqd\`.

${table(
  ["variable", "meaning", "values", "default"],
  worker.map(({ name, description, values, fallback }) => [code(name), description, values, code(fallback)]),
)}

## Edge

Variables in \`wrangler.toml\`: the development value, which is also the default, and that of the environment \`production\`.

${table(
  ["variable", "meaning", "default", "production"],
  edge
    .filter(({ value }) => value !== undefined)
    .map(({ name, description, value = "", production = "" }) => [
      code(name),
      description,
      code(value),
      code(production),
    ]),
)}

Secrets, set with \`wrangler secret put\`:

${table(
  ["secret", "meaning"],
  edge.filter(({ value }) => value === undefined).map(({ name, description }) => [code(name), description]),
)}

## Commands

Each prints this with \`--help\`.
${[...operation, ...vqd, ...development].map(([name, help]) => `\n### ${name}\n\n\`\`\`\n${help}\n\`\`\`\n`).join("")}`;
}

if (import.meta.main) writeFileSync(SETTINGS_PAGE, await settingsPage());
