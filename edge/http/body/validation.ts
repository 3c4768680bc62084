// Validation of request bodies: zod's issues as field errors with dotted paths.

import { type FieldError, VqdError } from "@vqd/shared/errors.ts";
import type { z } from "zod";

type Issue = z.core.$ZodIssue;

/** Maximum number of errors in a response: one to a body of unknown fields could otherwise be larger than the body. */
const MAX_ERRORS = 32;
/** Maximum length of the path in a field error, which may contain names made up by the client. */
const MAX_PATH_CHARS = 128;

function dotted(path: readonly PropertyKey[]): string {
  const whole = path.map(String).join(".");
  return whole.length <= MAX_PATH_CHARS ? whole : `${whole.slice(0, MAX_PATH_CHARS)}…`;
}

const isRootTypeIssue = (issue: Issue): boolean => issue.code === "invalid_type" && issue.path.length === 0;

function* flatten(issue: Issue, base: readonly PropertyKey[]): Generator<FieldError> {
  const path = [...base, ...issue.path];
  if (issue.code === "unrecognized_keys") {
    for (const key of issue.keys) yield { path: dotted([...path, key]), message: "is not a known field" };
  } else if (issue.code === "invalid_union") {
    // If one alternative has the value's type, its issues say what is wrong; otherwise the union's own message does.
    const branch = issue.errors.find((issues) => !issues.some(isRootTypeIssue));
    if (branch === undefined) yield { path: dotted(path), message: issue.message };
    else for (const inner of branch) yield* flatten(inner, path);
  } else {
    yield { path: dotted(path), message: issue.message };
  }
}

/** Messages for each kind of issue; zod's own mention its internal types. */
const customError: z.core.$ZodErrorMap = (issue) => {
  switch (issue.code) {
    case "invalid_type":
      if (issue.input === undefined) return "is required";
      return `must be ${issue.expected === "int" ? "an integer" : article(issue.expected)}`;
    case "too_small":
      if (issue.origin === "string") return "must not be empty";
      if (issue.origin === "array") return `must have at least ${String(issue.minimum)} entries`;
      return `must be ${issue.inclusive === false ? "greater than" : "at least"} ${String(issue.minimum)}`;
    case "too_big":
      if (issue.origin === "string") return `must have at most ${String(issue.maximum)} characters`;
      if (issue.origin === "array") return `must have at most ${String(issue.maximum)} entries`;
      return `must be at most ${String(issue.maximum)}`;
    case "invalid_value":
      return `must be ${issue.values.map((value) => JSON.stringify(value)).join(" or ")}`;
    default:
      return undefined;
  }
};

const article = (type: string): string => (/^[aeiou]/.test(type) ? `an ${type}` : `a ${type}`);

function firstErrors(issues: readonly Issue[]): FieldError[] {
  /** By path: of several limits that a value exceeds, the narrowest comes last. */
  const listed = new Map<string, FieldError>();
  for (const issue of issues) {
    for (const error of flatten(issue, [])) {
      if (listed.size === MAX_ERRORS && !listed.has(error.path)) {
        const message = `has further errors; only the first ${MAX_ERRORS} are listed`;
        return [...listed.values(), { path: "", message }];
      }
      listed.set(error.path, error);
    }
  }
  return [...listed.values()];
}

/** `value` as parsed by `schema`. Throws a VqdError (invalid_input) with one entry per field, up to a limit. */
export function validate<T>(schema: z.ZodType<T>, value: unknown): T {
  const parsed = schema.safeParse(value, { error: customError });
  if (parsed.success) return parsed.data;
  throw invalidInput(firstErrors(parsed.error.issues));
}

/** The error for invalid fields; its message is about the first. */
export function invalidInput(errors: readonly FieldError[]): VqdError {
  const [first] = errors;
  const message =
    first === undefined ? "the body is invalid" : `${first.path || "the body"} ${first.message}`;
  return new VqdError("invalid_input", message, { errors });
}
