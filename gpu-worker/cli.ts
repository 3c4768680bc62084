// `vqd`, the worker's command line: one file per command in cli/.

import { parseArgs } from "node:util";
import { printable } from "@vqd/shared/log.ts";
import { type Command, UsageError } from "./cli/command.ts";
import { build } from "./cli/commands/build.ts";
import { convert } from "./cli/commands/convert.ts";
import { decode } from "./cli/commands/decode.ts";
import { doctor } from "./cli/commands/doctor.ts";
import { encode } from "./cli/commands/encode.ts";
import { generate } from "./cli/commands/generate.ts";
import { golden } from "./cli/commands/golden.ts";
import { inspect } from "./cli/commands/inspect.ts";
import { join } from "./cli/commands/workers/join.ts";
import { models } from "./cli/commands/models.ts";
import { parity } from "./cli/commands/parity.ts";
import { pull } from "./cli/commands/pull.ts";
import { streams } from "./cli/commands/streams.ts";
import { verify } from "./cli/commands/verify.ts";
import { worker } from "./cli/commands/workers/worker.ts";
import { workers } from "./cli/commands/workers/workers.ts";

const COMMANDS: Readonly<Record<string, Command>> = {
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
  worker,
  join,
  workers,
  doctor,
};

const EXIT_FAILURE = 1;
const EXIT_USAGE = 2;

function programHelp(): string {
  const rows = Object.entries(COMMANDS).map(([name, command]) => `  ${name.padEnd(12)}${command.summary}`);
  return `Usage: vqd <command> [options]\n\nCommands:\n${rows.join("\n")}\n\nRun vqd <command> --help for details.\n`;
}

/** A reader may close the pipe early, as `head` does: further output is then discarded, and the command still completes. */
function ignoreClosedPipes(): void {
  for (const stream of [process.stdout, process.stderr]) {
    stream.on("error", (error: NodeJS.ErrnoException) => {
      if (error.code !== "EPIPE") throw error;
    });
  }
}

async function main([name, ...args]: readonly string[]): Promise<void> {
  // A worker that can no longer log must not keep running unobserved.
  if (name !== "worker" && name !== "join") ignoreClosedPipes();
  if (name === undefined || name === "--help" || name === "-h") {
    process.stdout.write(programHelp());
    return;
  }
  const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
  if (command === undefined) {
    throw new UsageError(
      `unknown command ${JSON.stringify(name)}; the commands are ${Object.keys(COMMANDS).join(", ")}`,
    );
  }
  const { values, positionals } = parse(command, args);
  if (values["help"] === true) {
    process.stdout.write(command.help);
    return;
  }
  const given = Object.entries<unknown>(values);
  const strings = given.filter((entry): entry is [string, string] => typeof entry[1] === "string");
  const flags = given.filter(([, value]) => value === true).map(([flag]) => flag);
  await command.run(positionals, Object.fromEntries(strings), new Set(flags));
}

function parse(command: Command, args: readonly string[]) {
  try {
    return parseArgs({
      args: [...args],
      options: { ...command.options, help: { type: "boolean", short: "h" } },
      allowPositionals: true,
    });
  } catch (error) {
    throw new UsageError(error instanceof Error ? error.message : String(error), { cause: error });
  }
}

try {
  await main(process.argv.slice(2));
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  process.stderr.write(`vqd: ${printable(message.replaceAll("\n", " "))}\n`);
  process.exitCode = error instanceof UsageError ? EXIT_USAGE : EXIT_FAILURE;
}
