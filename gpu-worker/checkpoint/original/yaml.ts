// Configs of the original code base: YAML with one tag of Python's.

import { type CollectionTag, parseDocument, YAMLSeq } from "yaml";
import type { z } from "zod";
import { CheckpointError } from "../errors.ts";
import { readText } from "../files/open.ts";

/** The published configs have 5 kB. */
const MAX_YAML_BYTES = 256 * 1024;
const MAX_PROBLEMS = 8;
/** Nothing that the original reads refers to another part of the file: a few bytes could stand for any number of values. */
const MAX_ALIASES = 0;

/** PyYAML writes tuples with this tag; they are read as lists. */
const pythonTuple: CollectionTag = {
  tag: "tag:yaml.org,2002:python/tuple",
  collection: "seq",
  nodeClass: YAMLSeq,
};

/**
 * Reads the YAML file at `path` (YAML 1.1, as PyYAML does). Any other tag than YAML's own and `!!python/tuple` is refused.
 * Throws a CheckpointError that names the file and what is wrong with it.
 */
export function readYaml<T>(path: string, schema: z.ZodType<T>): T {
  const parsed = schema.safeParse(parse(path, readText(path, MAX_YAML_BYTES)), { reportInput: true });
  if (parsed.success) return parsed.data;
  const problems = parsed.error.issues.slice(0, MAX_PROBLEMS).map(({ path: field, message, input }) => {
    const where = field.length === 0 ? "its content" : field.join(".");
    return input === undefined ? `${where}: is missing` : `${where}: ${message}`;
  });
  throw new CheckpointError(path, problems.join("; "), {
    remedy: "give the config that the model was trained with",
    cause: parsed.error,
  });
}

function parse(path: string, text: string): unknown {
  const refuse = (reason: string, cause?: unknown): CheckpointError =>
    new CheckpointError(path, `cannot be read as YAML: ${reason}`, {
      remedy: "give a config of the original code base",
      cause,
    });
  try {
    const document = parseDocument(text, {
      version: "1.1",
      customTags: [pythonTuple],
      prettyErrors: false,
      logLevel: "silent",
    });
    // A tag that is not known is only a warning to the parser.
    const [problem] = [...document.errors, ...document.warnings];
    if (problem !== undefined) throw refuse(problem.message, problem);
    return document.toJS({ maxAliasCount: MAX_ALIASES }) as unknown;
  } catch (error) {
    if (error instanceof CheckpointError) throw error;
    // Nesting that exhausts the stack, and aliases.
    throw refuse(error instanceof RangeError ? "it is nested too deeply" : String(error), error);
  }
}
