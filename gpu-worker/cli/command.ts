// What a command of the command line is, and how its options are read.

import type { ParseArgsOptionsConfig } from "node:util";

/** The caller's mistake: reported on one line, with exit code 2. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}

export interface Command {
  /** One line for the list of commands. */
  readonly summary: string;
  /** All of `--help`. */
  readonly help: string;
  /** Options besides --help: strings, which are in `values`, and booleans, which are in `flags` if given. */
  readonly options: ParseArgsOptionsConfig;
  run(
    positionals: readonly string[],
    values: Readonly<Record<string, string | undefined>>,
    flags: ReadonlySet<string>,
  ): Promise<void>;
}

/** Options of the type `string`. */
export const stringOptions = (...names: readonly string[]): ParseArgsOptionsConfig =>
  Object.fromEntries(names.map((name) => [name, { type: "string" } as const]));

/** The positional arguments, which are `names`; throws a UsageError if some are missing or too many. */
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

/** A number from an option, within min and max; undefined if it was not given. */
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

/** One of `choices` from an option; undefined if it was not given. */
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
