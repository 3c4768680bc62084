// What the OpenAPI document says: types, limits, fields and examples of values; its texts and its code as elements.

import { copyFrom, make } from "../assets/dom.js";

/** @typedef {Record<string, any>} Schema */
/** @typedef {{ method: string, path: string, operation: Schema }} Entry */
/** @typedef {{ name: string, schema: Schema, required: boolean }} Field */
/** @typedef {{ summary: string, value: any }} Example */

/** @param {Schema | undefined} object @returns {[name: string, value: any][]} */
export const pairs = (object) => Object.entries(object ?? {});

/** All operations, in the document's order. @param {Schema} document @returns {Entry[]} */
export const entriesOf = (document) =>
  pairs(document["paths"]).flatMap(([path, methods]) =>
    pairs(methods).map(([method, operation]) => ({ method, path, operation })),
  );

/** @param {Schema} operation @returns {[type: string, media: Schema] | undefined} */
export const bodyOf = ({ requestBody }) => pairs(requestBody?.content)[0];

export class Schemas {
  #components;

  /** @param {Schema} document */
  constructor(document) {
    this.#components = document["components"];
  }

  /** A schema, with what it refers to. @param {Schema} schema @returns {Schema} */
  resolve(schema) {
    const name = schema["$ref"]?.split("/").at(-1);
    const found = name === undefined ? schema : { ...this.#components.schemas[name], ...schema };
    const [only] = found["allOf"]?.length === 1 ? found["allOf"] : [];
    return only === undefined ? found : { ...this.resolve(only), ...found };
  }

  /** A schema's type in words. @param {Schema} given @returns {string} */
  typeOf(given) {
    const schema = this.resolve(given);
    const { enum: values, type, format, items } = schema;
    if (values !== undefined) {
      return values
        .filter((/** @type {unknown} */ value) => value !== null)
        .map((/** @type {unknown} */ value) => JSON.stringify(value))
        .join(" | ");
    }
    if (format === "binary") return "file";
    const alternatives = schema["anyOf"] ?? schema["oneOf"];
    if (
      alternatives !== undefined &&
      alternatives.every((/** @type {Schema} */ one) => one["type"] || one["$ref"])
    ) {
      return [...new Set(alternatives.map((/** @type {Schema} */ one) => this.typeOf(one)))].join(" | ");
    }
    const types = [type ?? "anything"].flat();
    if (types.includes("array")) {
      return `list of ${this.typeOf(items ?? {})}${types.includes("null") ? ", or null" : ""}`;
    }
    return types.join(" | ").replace(" | null", ", or null");
  }

  /** The constraints on a value, in words. @param {Schema} given */
  limitsOf(given) {
    const { minimum, maximum, exclusiveMinimum, minItems, maxItems, maxLength } = this.resolve(given);
    return [
      minimum === undefined ? "" : `from ${minimum}`,
      exclusiveMinimum === undefined ? "" : `above ${exclusiveMinimum}`,
      maximum === undefined ? "" : `to ${maximum}`,
      minItems === undefined ? "" : `${minItems} to ${maxItems ?? "any number of"} entries`,
      maxLength === undefined ? "" : `at most ${maxLength} characters`,
    ]
      .filter(Boolean)
      .join(" ");
  }

  /**
   * An object's fields, with dotted names for those of others in it.
   * @param {Schema} given
   * @param {string} [prefix]
   * @returns {Generator<Field>}
   */
  *fieldsOf(given, prefix = "") {
    const schema = this.resolve(given);
    const required = new Set(schema["required"] ?? []);
    const fields = pairs(schema["properties"]);
    for (const [name, field] of fields.toSorted(
      ([a], [b]) => Number(required.has(b)) - Number(required.has(a)),
    )) {
      yield { name: prefix + name, schema: field, required: required.has(name) };
      const inner = this.resolve(field);
      if (inner["type"] === "array") yield* this.fieldsOf(inner["items"] ?? {}, `${prefix}${name}[].`);
      else yield* this.fieldsOf(inner, `${prefix}${name}.`);
    }
    for (const one of schema["anyOf"] ?? []) yield* this.fieldsOf(one, prefix);
    if (prefix === "" && schema["type"] === "array") yield* this.fieldsOf(schema["items"], "[].");
  }

  /** The examples of a body or an answer. @param {Schema | undefined} media @returns {Example[]} */
  examplesOf(media) {
    /** @type {Schema[]} */
    const given = Object.values(media?.["examples"] ?? {});
    if (given.length === 0) {
      const [value] = this.resolve(media?.["schema"] ?? {})["examples"] ?? [];
      return value === undefined ? [] : [{ summary: "Example", value }];
    }
    return given.map((example) => {
      const { summary = "Example", value } = example["$ref"]
        ? this.#components.examples[example["$ref"].split("/").at(-1)]
        : example;
      return { summary, value };
    });
  }
}

/** Text with `code` in it. @param {string} text */
export const inline = (text) =>
  text
    .split(/(`[^`]+`)/)
    .map((part) => (part.startsWith("`") ? make("code", {}, part.slice(1, -1)) : part.replaceAll("\n", " ")));

/** Paragraphs and lists, with `code` in them. @param {string} text */
export function prose(text) {
  const blocks = text.split(/\n{2,}/).map((block) => {
    if (!block.startsWith("- ")) return make("p", {}, ...inline(block));
    const items = block.split(/^- /m).filter(Boolean);
    return make("ul", {}, ...items.map((item) => make("li", {}, ...inline(item))));
  });
  return make("div", { class: "prose" }, ...blocks);
}

/** Strings (those before a colon are names), then words and numbers that mean the same in all of the languages. */
const TOKENS =
  /("(?:[^"\\\n]|\\.)*"|`[^`]*`)(?=(\s*:)?)|\b(?:await|const|for|from|if|import|in|new|of|throw|with|as|def|return|true|false|null|True|False|None)\b|(?<![\w.$:/-])-?\d+(?:\.\d+)?(?![\w.:/-])/g;
/** More than that has no colours: each is an element. */
const MOST_COLOURED = 20_000;

/** @param {string} text */
export function coloured(text) {
  const code = make("code");
  if (text.length > MOST_COLOURED) {
    code.append(text);
    return code;
  }
  let end = 0;
  for (const { 0: found, 1: string, 2: colon, index } of text.matchAll(TOKENS)) {
    const kind = string === undefined ? "word" : colon === undefined ? "string" : "name";
    code.append(text.slice(end, index), make("span", { class: kind }, found));
    end = index + found.length;
  }
  code.append(text.slice(end));
  return code;
}

/**
 * A box for code: a line above it with a button that copies, and the code, which can be scrolled.
 * @param {HTMLElement} head
 * @param {HTMLPreElement} pre
 * @param {() => string} textOf what is copied
 * @param {HTMLElement} [before]
 */
export function codeBox(head, pre, textOf, before) {
  const copy = make("button", { type: "button", class: "quiet copy" }, "Copy");
  copy.addEventListener("click", () => void copyFrom(copy, textOf()));
  return make("div", { class: "code" }, before, make("div", { class: "code-head" }, head, copy), pre);
}

/** The code that scrolls in such a box. @param {string} label */
export const scrolled = (label) => make("pre", { tabindex: 0, role: "group", "aria-label": label });
