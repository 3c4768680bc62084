// Environment variables as shown in help texts and docs, derived from the schemas that validate them.

import { z } from "zod";

export interface Variable {
  readonly name: string;
  readonly description: string;
  /** Choices or range, such as "cpu, webgpu or cuda" or "1 to 64"; "" for any text. */
  readonly values: string;
  /** In words where it depends on the machine; "" if the variable is unset by default. */
  readonly fallback: string;
}

const bound = (value: unknown): number | undefined =>
  typeof value === "number" && Number.isFinite(value) ? value : undefined;

function valuesOf({ enum: choices, minimum, maximum }: z.core.JSONSchema.BaseSchema): string {
  if (choices !== undefined) return choices.join(", ").replace(/, (?=[^,]*$)/, " or ");
  const [min, max] = [bound(minimum), bound(maximum)];
  return min === undefined || max === undefined ? "" : `${min} to ${max}`;
}

/** The variables of a zod object's shape, each with a `description` and perhaps a `default` in its metadata. */
export function describeVariables(shape: Readonly<Record<string, z.ZodType>>): Variable[] {
  return Object.entries(shape).map(([name, schema]) => {
    const json = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
    const { description = "", default: fallback = "" } = { ...json, ...schema.meta() };
    return { name, description, values: valuesOf(json), fallback: String(fallback) };
  });
}

/** One line each, names in one column. */
export function variablesHelp(variables: readonly Variable[]): string {
  const width = Math.max(...variables.map(({ name }) => name.length)) + 2;
  return variables
    .map(({ name, description, values, fallback }) => {
      const allowed = values === "" ? "" : `: ${values}`;
      const preset = fallback === "" ? "" : ` [${fallback}]`;
      return `  ${name.padEnd(width)}${description}${allowed}${preset}\n`;
    })
    .join("");
}
