// Values as they are written in code: for shells, JavaScript and Python.

/** @param {unknown} value @param {string} [indent] of the lines after the first */
export const literal = (value, indent = "") => JSON.stringify(value, null, 2).replaceAll("\n", `\n${indent}`);

/** A JSON value as Python writes it. @param {unknown} value @param {string} [indent] @returns {string} */
export function python(value, indent = "") {
  const inner = `${indent}    `;
  if (value === null || value === undefined) return "None";
  if (typeof value === "boolean") return value ? "True" : "False";
  if (Array.isArray(value)) return `[${value.map((each) => python(each, inner)).join(", ")}]`;
  if (typeof value !== "object") return JSON.stringify(value);
  const entries = Object.entries(value).map(
    ([name, each]) => `${inner}${JSON.stringify(name)}: ${python(each, inner)},\n`,
  );
  return `{\n${entries.join("")}${indent}}`;
}

/** @param {string} text */
export const shellQuoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
