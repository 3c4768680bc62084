// The API reference: shows the OpenAPI document, whose operations open where the address says.

import { client } from "../assets/api.js";
import { byId, make } from "../assets/dom.js";
import { askForKey, closeKeyPanel, onKeyEntered, onKeyForgotten, showKeyState } from "../assets/key.js";
import { VqdError } from "../client/index.js";
import { createContents, createSearch } from "./contents.js";
import { fillOperation, frameOf } from "./operation.js";
import { entriesOf, prose, Schemas } from "./document.js";
import { keyChanged } from "./try.js";

/** @typedef {import("./document.js").Entry} Entry */
/** @typedef {import("./document.js").Schema} Schema */

const main = byId("api-operations", HTMLElement);

/** What the address means by an operation, however it is written: `#create-prediction`, too. @param {string} text */
const plain = (text) => text.replaceAll(/\W/g, "").toLowerCase();

/** @param {Schema} document */
function render(document) {
  const entries = entriesOf(document);
  const schemas = new Schemas(document);
  const groups = /** @type {{ name: string, description: string }[]} */ (document["tags"]).map(
    ({ name, description }) => ({
      name,
      description,
      entries: entries.filter(({ operation }) => operation["tags"].includes(name)),
    }),
  );
  const frames = new Map(entries.map((entry) => [entry.operation["operationId"], frameOf(entry)]));

  /** @param {string} id */
  const open = (id) => {
    const frame = frames.get(id);
    const entry = entries.find(({ operation }) => operation["operationId"] === id);
    if (frame === undefined || entry === undefined) return undefined;
    fillOperation(frame, entry, schemas, entries);
    frame.open = true;
    return frame;
  };
  for (const [id, frame] of frames) {
    frame.addEventListener("toggle", () => {
      if (frame.open) open(id);
    });
    // What somebody has opened is what a reload shows.
    frame.querySelector("summary")?.addEventListener("click", () => {
      if (frame.open) return;
      history.replaceState(null, "", `#${id}`);
      contents.mark(id);
    });
  }
  const contents = createContents(groups, open);
  createSearch(groups, schemas, (id, field) => {
    history.pushState(null, "", `#${id}`);
    contents.mark(id);
    contents.close();
    const frame = open(id);
    const row = field === undefined ? undefined : frame?.querySelector(`[data-field="${CSS.escape(field)}"]`);
    const around = row?.closest("details");
    if (around) around.open = true;
    for (const other of main.querySelectorAll(".found")) other.classList.remove("found");
    row?.classList.add("found");
    frame?.querySelector("summary")?.focus({ preventScroll: true });
    if (row) row.scrollIntoView({ block: "center" });
    else frame?.scrollIntoView();
  });

  const { origin, pathname } = new URL(".", window.document.baseURI);
  main.replaceChildren(
    make("h1", {}, "API reference"),
    prose(document["info"].description),
    make(
      "div",
      { class: "prose how" },
      make("p", {}, "The service is at ", make("code", {}, `${origin}${pathname}`.replace(/\/$/, "")), "."),
      make(
        "p",
        { class: "hint" },
        "The examples read the key from the environment variable ",
        make("code", {}, "VQD_API_KEY"),
        ". Those for JavaScript are modules (",
        make("code", {}, ".mjs"),
        ") for Node 20 or later, those for Python are for 3.9 or later; neither needs packages.",
      ),
    ),
    ...groups.map(({ name, description, entries: own }) =>
      make(
        "section",
        { "aria-labelledby": `tag-${plain(name)}` },
        make("h2", { id: `tag-${plain(name)}` }, name),
        prose(description),
        ...own.map(({ operation }) => /** @type {HTMLElement} */ (frames.get(operation["operationId"]))),
      ),
    ),
  );

  const follow = () => {
    const wanted = plain(location.hash);
    const id = [...frames.keys()].find((one) => plain(one) === wanted);
    const target = id === undefined ? window.document.getElementById(location.hash.slice(1)) : open(id);
    if (id !== undefined) contents.mark(id);
    target?.scrollIntoView();
  };
  addEventListener("hashchange", follow);
  follow();
}

async function load() {
  try {
    return render(await client.request("openapi.json", { apiKey: null }));
  } catch (error) {
    if (!(error instanceof VqdError || error instanceof SyntaxError)) throw error;
    const again = make("button", { type: "button", class: "primary" }, "Try again");
    again.addEventListener("click", () => void load());
    main.replaceChildren(
      make("h1", {}, "API reference"),
      make("p", { class: "alert", role: "alert" }, `The OpenAPI document cannot be read. ${error.message}`),
      make("p", {}, again),
    );
  }
}

document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && document.querySelector("dialog[open]") === null) closeKeyPanel();
});
/** Where the key was asked for. @type {HTMLElement | undefined} */
let asker;
addEventListener("key-wanted", ({ target }) => {
  asker = /** @type {HTMLElement} */ (target);
  askForKey();
});
onKeyEntered(() => {
  keyChanged();
  asker?.closest("form")?.querySelector("button")?.focus();
  asker = undefined;
});
onKeyForgotten(keyChanged);
showKeyState();
await load();
