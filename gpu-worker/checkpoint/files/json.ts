// JSON files, checked against a schema.

import type { z } from "zod";
import { unreadable } from "./mistaken.ts";
import { readText } from "./open.ts";

/** Real configs have a few kilobytes at most. */
const MAX_CONFIG_BYTES = 1024 * 1024;
/** How much of a wrong value an error quotes, and how many fields it lists. */
const MAX_SHOWN = 80;
const MAX_PROBLEMS = 8;

/**
 * Reads a JSON file of at most `maxBytes`. Throws a CheckpointError naming the file and the wrong fields, with what was
 * expected and found.
 */
export function readJson<T>(path: string, schema: z.ZodType<T>, maxBytes = MAX_CONFIG_BYTES): T {
  const text = readText(path, maxBytes);
  let json: unknown;
  try {
    json = JSON.parse(text.replace(/^\uFEFF/, ""));
  } catch (cause) {
    throw unreadable(path, "not a JSON file", { cause });
  }
  const parsed = schema.safeParse(json, { reportInput: true });
  if (parsed.success) return parsed.data;
  const { issues } = parsed.error;
  const problems = issues.slice(0, MAX_PROBLEMS).map(({ path: field, message, input }) => {
    const where = field.length === 0 ? "its content" : field.join(".");
    return input === undefined ? `${where}: is missing` : `${where}: ${message}, found ${shown(input)}`;
  });
  if (issues.length > MAX_PROBLEMS) problems.push(`and ${issues.length - MAX_PROBLEMS} more`);
  throw unreadable(path, problems.join("; "), {
    remedy: "correct it or fetch the file again",
    cause: parsed.error,
  });
}

function shown(value: unknown): string {
  let text: string;
  try {
    text = JSON.stringify(value);
  } catch {
    return "a value nested too deeply to show";
  }
  return text.length > MAX_SHOWN ? `${text.slice(0, MAX_SHOWN)}...` : text;
}
