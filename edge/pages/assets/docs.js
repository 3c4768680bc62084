// The API reference: renders the OpenAPI document.

import { byId, make } from "./dom.js";

/** @typedef {Record<string, any>} Schema */
/** @typedef {{ method: string, path: string, operation: Record<string, any> }} Entry */

/** Renders the Markdown used in descriptions: `code`, [links](...) and lists. @param {string} text */
function prose(text) {
  const blocks = text.split(/\n{2,}/).map((block) => {
    if (!block.startsWith("- ")) return make("p", {}, ...inline(block));
    return make(
      "ul",
      {},
      ...block
        .split(/^- /m)
        .filter(Boolean)
        .map((item) => make("li", {}, ...inline(item))),
    );
  });
  return make("div", { class: "prose" }, ...blocks);
}

/** @param {string} text */
const inline = (text) =>
  text
    .split(/(`[^`]+`)/)
    .map((part) => (part.startsWith("`") ? make("code", {}, part.slice(1, -1)) : part.replaceAll("\n", " ")));

/** @param {Schema} document */
function createRenderer(document) {
  /** @param {Schema} schema @returns {Schema} */
  const resolve = (schema) => {
    const name = schema["$ref"]?.split("/").at(-1);
    const found = name === undefined ? schema : { ...document["components"].schemas[name], ...schema };
    const [only] = found["allOf"]?.length === 1 ? found["allOf"] : [];
    return only === undefined ? found : { ...resolve(only), ...found };
  };

  /** A schema's type in words. @param {Schema} given @returns {string} */
  const typeOf = (given) => {
    const schema = resolve(given);
    if (schema["enum"] !== undefined) {
      return schema["enum"]
        .filter((/** @type {unknown} */ value) => value !== null)
        .map((/** @type {unknown} */ value) => JSON.stringify(value))
        .join(" | ");
    }
    const alternatives = schema["anyOf"] ?? schema["oneOf"];
    if (alternatives !== undefined) return alternatives.map(typeOf).join(" | ");
    const types = [schema["type"] ?? "anything"].flat();
    if (types.includes("array")) {
      return `list of ${typeOf(schema["items"] ?? {})}${types.includes("null") ? ", or null" : ""}`;
    }
    return types.join(" | ").replace(" | null", ", or null");
  };

  /** The constraints on a value. @param {Schema} given */
  const limitsOf = (given) => {
    const schema = resolve(given);
    const { minimum, maximum, exclusiveMinimum, minItems, maxItems, maxLength } = schema;
    return [
      minimum === undefined ? undefined : `from ${minimum}`,
      exclusiveMinimum === undefined ? undefined : `above ${exclusiveMinimum}`,
      maximum === undefined ? undefined : `to ${maximum}`,
      minItems === undefined ? undefined : `${minItems} to ${maxItems ?? "any number of"} entries`,
      maxLength === undefined ? undefined : `at most ${maxLength} characters`,
    ]
      .filter((limit) => limit !== undefined)
      .join(" ");
  };

  /**
   * Table rows for an object's fields, with dotted paths for nested ones.
   * @param {Schema} given
   * @param {string} prefix
   * @returns {Generator<HTMLTableRowElement>}
   */
  function* rowsOf(given, prefix) {
    const schema = resolve(given);
    const required = new Set(schema["required"] ?? []);
    for (const [name, field] of Object.entries(schema["properties"] ?? {})) {
      const inner = resolve(field);
      yield fieldRow(prefix + name, field, required.has(name));
      if (inner["type"] === "object") yield* rowsOf(inner, `${prefix}${name}.`);
      if (inner["type"] === "array") yield* rowsOf(inner["items"] ?? {}, `${prefix}${name}[].`);
    }
  }

  /** @param {string} name @param {Schema} schema @param {boolean} isRequired */
  const fieldRow = (name, schema, isRequired) => {
    const limits = limitsOf(schema);
    return make(
      "tr",
      {},
      make(
        "th",
        { scope: "row" },
        make("code", {}, name),
        isRequired ? make("small", {}, " required") : undefined,
      ),
      make(
        "td",
        {},
        make("span", { class: "type" }, typeOf(schema)),
        limits === "" ? undefined : `, ${limits}`,
      ),
      make("td", {}, ...inline(resolve(schema)["description"] ?? "")),
    );
  };

  /** @param {string} caption @param {HTMLTableRowElement[]} rows */
  const table = (caption, rows) =>
    make(
      "div",
      { class: "scroll", tabindex: 0, role: "group", "aria-label": caption },
      make("table", {}, make("caption", {}, caption), make("tbody", {}, ...rows)),
    );

  /** @param {string} caption @param {Schema} given */
  const schemaTable = (caption, given) => {
    const rows = [...rowsOf(given, "")];
    return rows.length === 0 ? undefined : table(caption, rows);
  };

  /** A curl command with the body of an example. @param {Entry} entry @param {unknown} body */
  const curl = ({ method, path, operation }, body) => {
    const url = operation.parameters?.reduce(
      (/** @type {string} */ filled, /** @type {Schema} */ { name, schema }) =>
        filled.replace(`{${name}}`, encodeURIComponent(schema.examples?.[0] ?? name)),
      path,
    );
    const parts = [`curl -sS ${new URL(`.${url ?? path}`, window.document.baseURI).href}`];
    const implied = body === undefined ? "get" : "post";
    if (method !== implied) parts.push(`-X ${method.toUpperCase()}`);
    if (operation.security?.length > 0) parts.push('-H "authorization: Bearer $VQD_API_KEY"');
    if (body !== undefined) {
      const text = JSON.stringify(body, null, 2).replaceAll("'", String.raw`'\''`);
      parts.push('-H "content-type: application/json"', `-d '${text}'`);
    }
    return parts.join(" \\\n  ");
  };

  /** @param {Entry} entry */
  const examples = (entry) => {
    const given = entry.operation.requestBody?.content["application/json"]?.examples;
    const blocks =
      given === undefined
        ? [{ summary: "Request", value: undefined }]
        : Object.values(/** @type {Record<string, { summary: string, value: unknown }>} */ (given));
    return blocks.map(({ summary, value }, i) => {
      const pre = make(
        "pre",
        { tabindex: 0, role: "group", "aria-label": summary },
        make("code", {}, curl(entry, value)),
      );
      return make("details", i === 0 ? { open: true } : {}, make("summary", {}, summary), pre);
    });
  };

  /** @param {Entry} entry */
  const responses = ({ operation }) =>
    Object.entries(operation.responses).map(([status, response]) => {
      const [type, media] = Object.entries(response.content ?? {})[0] ?? [];
      const kind = status.startsWith("2") || status.startsWith("3") ? "good" : "bad";
      const fields =
        media?.schema === undefined ? undefined : schemaTable(`Fields of ${status}`, media.schema);
      const title = [
        make("span", { class: `status ${kind}` }, status),
        ` ${response.description} `,
        type === undefined ? undefined : make("small", {}, type),
      ];
      return fields === undefined
        ? make("p", { class: "response" }, ...title)
        : make("details", { class: "response" }, make("summary", {}, ...title), fields);
    });

  /** @param {Entry} entry */
  return (entry) => {
    const { method, path, operation } = entry;
    const parameters = operation.parameters?.map(
      (/** @type {Schema} */ { name, schema, required, description }) =>
        fieldRow(name, { ...schema, description }, required === true),
    );
    const body = operation.requestBody?.content["application/json"]?.schema;
    return make(
      "section",
      {
        class: "card operation",
        id: operation.operationId,
        "aria-labelledby": `${operation.operationId}-title`,
      },
      make("h3", { id: `${operation.operationId}-title` }, operation.summary),
      make(
        "p",
        { class: "endpoint" },
        make("span", { class: `method ${method}` }, method.toUpperCase()),
        make("code", {}, path),
      ),
      operation.security?.length > 0 ? undefined : make("p", { class: "hint" }, "Needs no key."),
      operation.description === undefined ? undefined : prose(operation.description),
      parameters === undefined ? undefined : table("Parameters", parameters),
      body === undefined ? undefined : schemaTable("Body", body),
      make("h4", {}, "Example"),
      ...examples(entry),
      make("h4", {}, "Answers"),
      ...responses(entry),
    );
  };
}

/** @param {Schema} document */
function render(document) {
  const main = byId("api-operations", HTMLElement);
  const contents = byId("api-contents", HTMLElement);
  /** @type {Entry[]} */
  const entries = Object.entries(/** @type {Schema} */ (document["paths"])).flatMap(([path, methods]) =>
    Object.entries(/** @type {Schema} */ (methods)).map(([method, operation]) => ({
      method,
      path,
      operation,
    })),
  );
  const renderOperation = createRenderer(document);
  main.replaceChildren(make("h1", {}, "API reference"), prose(document["info"].description));
  contents.replaceChildren();
  for (const { name, description } of document["tags"]) {
    const own = entries.filter(({ operation }) => operation["tags"].includes(name));
    main.append(make("h2", {}, name), prose(description), ...own.map(renderOperation));
    contents.append(
      make("p", { class: "group" }, name),
      make(
        "ul",
        { "aria-label": name },
        ...own.map(({ operation }) =>
          make("li", {}, make("a", { href: `#${operation["operationId"]}` }, operation["summary"])),
        ),
      ),
    );
  }
  // The browser looked for the fragment before the page had any content.
  window.document.getElementById(location.hash.slice(1))?.scrollIntoView();
}

try {
  const response = await fetch("openapi.json");
  if (!response.ok) throw new Error(`the service responded with status ${response.status}`);
  render(await response.json());
} catch (error) {
  const reason = error instanceof Error ? error.message : String(error);
  byId("api-operations", HTMLElement).replaceChildren(
    make("p", { class: "alert", role: "alert" }, `The OpenAPI document could not be loaded: ${reason}.`),
  );
}
