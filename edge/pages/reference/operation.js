// One operation: what it does, what it takes, examples and answers. It is made when it is opened for the first time.

import { make } from "../assets/dom.js";
import { badge } from "./contents.js";
import { createExamples } from "./examples.js";
import { bodyOf, codeBox, coloured, inline, pairs, prose, scrolled } from "./document.js";
import { createTry } from "./try.js";

/** @typedef {import("./document.js").Entry} Entry */
/** @typedef {import("./document.js").Field} Field */
/** @typedef {import("./document.js").Schema} Schema */
/** @typedef {import("./document.js").Schemas} Schemas */

/** An operation's frame, with its headline. @param {Entry} entry */
export const frameOf = ({ method, path, operation }) =>
  make(
    "details",
    { class: "card operation", id: operation["operationId"] },
    make(
      "summary",
      {},
      badge(method),
      make("h3", {}, ...inline(operation["summary"])),
      make("code", { class: "path" }, path),
    ),
  );

/**
 * @param {HTMLDetailsElement} frame
 * @param {Entry} entry
 * @param {Schemas} schemas
 * @param {Entry[]} entries all of the document
 */
export function fillOperation(frame, entry, schemas, entries) {
  if (frame.querySelector(".operation-body") !== null) return;
  const { operation } = entry;
  const [type, body] = bodyOf(operation) ?? [];
  const isPage = Object.keys(operation["responses"]["200"]?.content ?? {})[0] === "text/html";
  const examples = createExamples(entry, schemas);
  const parameters = /** @type {Schema[]} */ (operation["parameters"] ?? []).map(
    ({ name, schema, required, description, in: place }) => ({
      name,
      schema: { ...schema, description },
      required: required === true,
      place,
    }),
  );
  frame.append(
    make(
      "div",
      { class: "operation-body" },
      make(
        "div",
        { class: "intro" },
        operation["security"]?.length > 0 ? undefined : make("p", { class: "hint" }, "Needs no key."),
        operation["description"] === undefined ? undefined : prose(operation["description"]),
      ),
      make(
        "div",
        { class: "side" },
        make("h4", {}, "Request"),
        examples.element,
        isPage ? undefined : createTry(entry, examples, entries),
        ...exampleAnswers(operation, schemas),
      ),
      make(
        "div",
        { class: "details" },
        ...fieldsSection("Parameters", parameters, schemas),
        ...fieldsSection(
          type === "application/json" ? "Body" : "Form",
          body === undefined ? [] : [...schemas.fieldsOf(body["schema"])],
          schemas,
        ),
        make("h4", {}, "Answers"),
        ...answers(operation, schemas),
      ),
    ),
  );
}

/** @param {(Field & { place?: string })[]} fields @param {Schemas} schemas */
const list = (fields, schemas) =>
  make(
    "dl",
    { class: "fields" },
    ...fields.map(({ name, schema, required, place }) => {
      const limits = schemas.limitsOf(schema);
      const description = schemas.resolve(schema)["description"] ?? "";
      return make(
        "div",
        { "data-field": name },
        make(
          "dt",
          {},
          make("code", {}, name),
          " ",
          make(
            "span",
            { class: "type" },
            schemas.typeOf(schema),
            limits === "" ? undefined : `, ${limits}`,
            place === undefined || place === "path" ? undefined : `, in the ${place}`,
          ),
          required ? make("span", { class: "required" }, " required") : undefined,
        ),
        description === "" ? make("dd") : make("dd", {}, ...inline(description)),
      );
    }),
  );

/** @param {string} title @param {(Field & { place?: string })[]} fields @param {Schemas} schemas */
const fieldsSection = (title, fields, schemas) =>
  fields.length === 0 ? [] : [make("h4", {}, title), list(fields, schemas)];

/** @param {string} status */
const isGood = (status) => status < "4";

/** What each answer means, and its fields; errors have the same ones. @param {Schema} operation @param {Schemas} schemas */
function answers(operation, schemas) {
  const all = pairs(operation["responses"]);
  /** @param {[string, Schema][]} some */
  const meanings = (some) =>
    make(
      "dl",
      { class: "statuses" },
      ...some.map(([status, { description }]) =>
        make(
          "div",
          {},
          make("dt", { class: isGood(status) ? "good" : "bad" }, status),
          make("dd", {}, ...inline(description)),
        ),
      ),
    );
  /** @param {string} title @param {Schema | undefined} media */
  const fields = (title, media) => {
    const found = media?.["schema"] === undefined ? [] : [...schemas.fieldsOf(media["schema"])];
    return found.length === 0
      ? undefined
      : make("details", { class: "inner" }, make("summary", {}, title), list(found, schemas));
  };
  const good = all.filter(([status]) => isGood(status));
  const bad = all.filter(([status]) => !isGood(status));
  /** @param {[string, Schema][]} some */
  const mediaOf = (some) => some.flatMap(([, { content = {} }]) => pairs(content))[0];
  const [errorType, error] = mediaOf(bad) ?? [];
  const example = schemas.examplesOf(error)[0];
  return [
    meanings(good),
    fields("Fields of the answer", mediaOf(good)?.[1]),
    ...(bad.length === 0
      ? []
      : [
          make("h4", {}, "Errors"),
          meanings(bad),
          example === undefined
            ? undefined
            : make(
                "details",
                { class: "inner" },
                make("summary", {}, "What an error looks like"),
                block(example.value, `An error, as ${errorType}`),
              ),
          fields("Fields of an error", error),
        ]),
  ].filter((part) => part !== undefined);
}

/** @param {unknown} value @param {string} label */
function block(value, label) {
  const text = typeof value === "string" ? value : JSON.stringify(value, null, 2);
  const pre = scrolled(label);
  pre.append(coloured(text));
  return codeBox(make("span", {}, label), pre, () => text);
}

/** @param {Schema} operation @param {Schemas} schemas */
function exampleAnswers(operation, schemas) {
  const shown = pairs(operation["responses"]).flatMap(([status, { content = {} }]) =>
    isGood(status)
      ? pairs(content).flatMap(([type, media]) =>
          Object.keys(media["examples"] ?? {}).length === 0
            ? []
            : schemas
                .examplesOf(media)
                .map(({ summary, value }) =>
                  block(value, `${status} ${type}${summary === "An answer" ? "" : ", shortened"}`),
                ),
        )
      : [],
  );
  return shown.length === 0 ? [] : [make("h4", {}, "Example answer"), ...shown];
}
