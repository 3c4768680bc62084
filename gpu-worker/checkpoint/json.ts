// JSON files of a checkpoint, checked against a schema.

import { existsSync, readFileSync } from "node:fs";
import type { z } from "zod";
import { CheckpointError } from "./errors.ts";

/** How much of a wrong value is repeated in an error. */
const MAX_SHOWN = 80;

/** Throws a CheckpointError that names the file and every field that is wrong, with what was expected and found. */
export function readJson<T>(path: string, schema: z.ZodType<T>): T {
  if (!existsSync(path)) throw new CheckpointError(path, "the file is missing");
  let json: unknown;
  try {
    json = JSON.parse(readFileSync(path, "utf8"));
  } catch (cause) {
    throw new CheckpointError(path, "not a JSON file", { cause });
  }
  const parsed = schema.safeParse(json, { reportInput: true });
  if (!parsed.success) {
    const problems = parsed.error.issues.map(
      (issue) => `${issue.path.join(".")}: ${issue.message}, found ${shown(issue.input)}`,
    );
    throw new CheckpointError(path, problems.join("; "), { cause: parsed.error });
  }
  return parsed.data;
}

function shown(value: unknown): string {
  const text = value === undefined ? "nothing" : JSON.stringify(value);
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}
