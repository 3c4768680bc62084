// What makes up a command of the command line, and how its options are read.

import type { ParseArgsOptionsConfig } from "node:util";
import { printable } from "@vqd/shared/log.ts";

/** A mistake of the caller: reported on one line, with exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** The complete `--help` text. */
  readonly help: string;
  /** Options besides --help: strings, passed in `values`, and booleans, passed in `flags` when given. */
  readonly options: ParseArgsOptionsConfig;
  run(
    positionals: readonly string[],
    values: Readonly<Record<string, string | undefined>>,
    flags: ReadonlySet<string>,
  ): Promise<void>;
}

/** Writes a report to standard output: what others have named in it cannot control the terminal. */
export const report = (text: string): void => void process.stdout.write(printable(text));

/** Options of the type `string`. */
export const stringOptions = (...names: readonly string[]): ParseArgsOptionsConfig =>
  Object.fromEntries(names.map((name) => [name, { type: "string" } as const]));

/** The positional arguments called `names`; throws a UsageError if there are too few or too many. */
export function readArguments<const Names extends readonly string[]>(
  positionals: readonly string[],
  usage: string,
  names: Names,
): { [I in keyof Names]: string } {
  const missing = names.find((_, i) => (positionals[i] ?? "").trim() === "");
  if (missing !== undefined) throw new UsageError(`${missing} is missing: ${usage}`);
  const extra = positionals[names.length];
  if (extra !== undefined) throw new UsageError(`unexpected argument ${JSON.stringify(extra)}: ${usage}`);
  return [...positionals] as { [I in keyof Names]: string };
}

/** A number option from min to max; undefined if not given. Throws a UsageError. */
export function numberOption(
  values: Readonly<Record<string, string | undefined>>,
  name: string,
  { min, max, integer = false }: { min: number; max: number; integer?: boolean },
): number | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const value = text.trim() === "" ? Number.NaN : Number(text);
  if (!(value >= min && value <= max) || (integer && !Number.isInteger(value))) {
    const kind = integer ? "an integer" : "a number";
    throw new UsageError(`--${name} must be ${kind} from ${min} to ${max}, not ${JSON.stringify(text)}`);
  }
  return value;
}

/** An option that is one of `choices`; undefined if not given. Throws a UsageError. */
export function choiceOption<T extends string>(
  values: Readonly<Record<string, string | undefined>>,
  name: string,
  choices: readonly T[],
): T | undefined {
  const text = values[name];
  if (text === undefined) return undefined;
  const choice = choices.find((candidate) => candidate === text);
  if (choice === undefined) {
    throw new UsageError(`--${name} must be one of ${choices.join(", ")}, not ${JSON.stringify(text)}`);
  }
  return choice;
}
