// The contents, whose groups fold (on a phone all of them do, behind one line above the text), and what finds operations by their
// words, paths, ids, fields and schemas (ARIA Authoring Practices: combobox with a list of options).

import { byId, make } from "../assets/dom.js";
import { bodyOf, inline, pairs } from "./document.js";

/** @typedef {import("./document.js").Entry} Entry */
/** @typedef {{ name: string, description: string, entries: Entry[] }} Group */

/** Where the contents are beside the text (reference.css). */
const WIDE = matchMedia("(min-width: 60rem)");

/** A method as a badge. @param {string} method */
export const badge = (method) => make("span", { class: `method ${method}` }, method.toUpperCase());

/**
 * @param {Group[]} groups
 * @param {(id: string) => void} open
 */
export function createContents(groups, open) {
  const fold = byId("contents-fold", HTMLDetailsElement);
  /** @type {Map<string, HTMLAnchorElement>} */
  const links = new Map();

  byId("contents-groups", HTMLElement).replaceChildren(
    ...groups.map(({ name, entries }, i) =>
      make(
        "details",
        { open: i === 0 },
        make("summary", {}, name, " ", make("small", {}, String(entries.length))),
        make(
          "ul",
          { "aria-label": name },
          ...entries.map(({ method, operation }) => {
            const id = operation["operationId"];
            const link = make(
              "a",
              { href: `#${id}` },
              badge(method),
              make("span", {}, ...inline(operation["summary"])),
            );
            link.addEventListener("click", () => {
              open(id);
              if (!WIDE.matches) fold.open = false;
            });
            links.set(id, link);
            return make("li", {}, link);
          }),
        ),
      ),
    ),
  );
  const arrange = () => (fold.open = WIDE.matches);
  WIDE.addEventListener("change", arrange);
  arrange();

  return {
    /** Shows which operation the address means. @param {string} id */
    mark(id) {
      for (const other of links.values()) other.removeAttribute("aria-current");
      const link = links.get(id);
      link?.setAttribute("aria-current", "true");
      const group = link?.closest("details");
      if (group) group.open = true;
      if (link && WIDE.matches) link.scrollIntoView({ block: "nearest" });
    },
    /** Folds them where they are above the text. */
    close() {
      if (!WIDE.matches) fold.open = false;
    },
  };
}

/** @typedef {import("./document.js").Schemas} Schemas */
/** @typedef {Entry & { text: string, fields: string[], schemas: string[] }} Indexed */
/** @typedef {{ entry: Indexed, because: string, rank: number, field?: string }} Hit */

/** @param {Entry} entry @param {Schemas} schemas @returns {Indexed} */
function indexed(entry, schemas) {
  const { method, path, operation } = entry;
  const media = [
    bodyOf(operation)?.[1],
    ...pairs(operation["responses"])
      .filter(([status]) => status < "4")
      .flatMap(([, { content }]) => pairs(content).map(([, one]) => one)),
  ];
  const fields = media.flatMap((one) => [...schemas.fieldsOf(one?.schema ?? {})]);
  const names = JSON.stringify(media).matchAll(/#\/components\/schemas\/(\w+)/g);
  return {
    ...entry,
    text: `${method} ${path} ${operation["summary"]} ${operation["operationId"]} ${operation["tags"]}`,
    fields: [...(operation["parameters"] ?? []), ...fields].map(({ name }) => name),
    schemas: [...names].map(([, name = ""]) => name),
  };
}

/** Those that have all words: in their own, then in a field's, then in a schema's. @param {Indexed[]} index @param {string} query */
function search(index, query) {
  const words = query.toLowerCase().split(/\s+/);
  const has = (/** @type {string} */ text) => words.every((word) => text.toLowerCase().includes(word));
  const hits = index.flatMap((entry) => {
    const { operationId: id, summary } = entry.operation;
    const isFirst = [summary, id].some((text) => text.toLowerCase().startsWith(words[0] ?? ""));
    const rank = isFirst ? 0 : has(summary) ? 1 : 2;
    if (has(entry.text)) return { entry, because: entry.path, rank };
    const field = entry.fields.find(has);
    if (field !== undefined) return { entry, because: field, field, rank: 3 };
    const schema = entry.schemas.find(has);
    return schema === undefined ? [] : { entry, because: `schema ${schema}`, rank: 4 };
  });
  return hits.toSorted((a, b) => a.rank - b.rank);
}

/**
 * @param {Group[]} groups
 * @param {Schemas} schemas
 * @param {(id: string, field?: string) => void} go
 */
export function createSearch(groups, schemas, go) {
  const index = groups.flatMap(({ entries }) => entries.map((entry) => indexed(entry, schemas)));
  const input = byId("search", HTMLInputElement);
  const list = byId("search-hits", HTMLElement);
  const status = byId("search-status", HTMLElement);
  /** @type {Hit[]} */
  let hits = [];
  let active = 0;

  /** @param {number} at */
  const choose = (at) => {
    active = at;
    for (const [i, option] of [...list.children].entries()) {
      option.setAttribute("aria-selected", String(i === at));
      if (i === at) option.scrollIntoView({ block: "nearest" });
    }
    if (hits.length > 0) input.setAttribute("aria-activedescendant", `hit-${at}`);
    else input.removeAttribute("aria-activedescendant");
  };
  const show = () => {
    const query = input.value.trim();
    hits = query === "" ? [] : search(index, query);
    list.replaceChildren(
      ...hits.map(({ entry, because }, i) => {
        const option = make(
          "li",
          { role: "option", id: `hit-${i}` },
          badge(entry.method),
          make("span", {}, ...inline(entry.operation["summary"])),
          make("code", {}, because),
        );
        option.addEventListener("click", () => take(i));
        return option;
      }),
    );
    list.hidden = hits.length === 0;
    input.setAttribute("aria-expanded", String(hits.length > 0));
    byId("contents-fold", HTMLElement).hidden = query !== "";
    const count = `${hits.length || "No"} operation${hits.length === 1 ? "" : "s"}`;
    status.textContent = query === "" ? "" : count;
    choose(0);
  };
  /** @param {number} at */
  const take = (at) => {
    const hit = hits[at];
    if (hit === undefined) return;
    clear();
    go(hit.entry.operation["operationId"], hit.field);
  };
  const clear = () => {
    input.value = "";
    show();
  };

  input.addEventListener("input", show);
  input.addEventListener("keydown", (event) => {
    const last = hits.length - 1;
    const to = { ArrowDown: active === last ? 0 : active + 1, ArrowUp: active === 0 ? last : active - 1 }[
      event.key
    ];
    if (to !== undefined && hits.length > 0) choose(to);
    else if (event.key === "Enter") take(active);
    else if (event.key === "Escape" && input.value !== "") clear();
    else return;
    event.preventDefault();
    event.stopPropagation();
  });
  document.addEventListener("keydown", (event) => {
    const { target, key, ctrlKey, metaKey, altKey } = event;
    const isTyping = target instanceof Element && target.matches("input, textarea, select, dialog *");
    if (key !== "/" || ctrlKey || metaKey || altKey || isTyping) return;
    event.preventDefault();
    input.focus();
    input.select();
  });
  input.disabled = false;
  show();
}
