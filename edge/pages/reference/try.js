// Sends a request of an operation with what its fields say, and with the key in use. Nothing is sent before a click.

import { storedKey } from "../assets/api.js";
import { byId, make } from "../assets/dom.js";
import { createAnswer, onLearned, recall } from "./answer.js";
import { bodyOf } from "./document.js";

/** @typedef {import("./examples.js").Examples} Examples */
/** @typedef {import("./document.js").Entry} Entry */
/** @typedef {import("./document.js").Schema} Schema */
/** @typedef {HTMLInputElement | HTMLTextAreaElement} Control */

const MOST_ROWS = 16;

/** What shows whether there is a key. @type {Set<() => void>} */
const keyed = new Set();
export const keyChanged = () => {
  for (const show of keyed) show();
};

/** Asks before what cannot be taken back. @param {string} summary @param {string} line @returns {Promise<boolean>} */
async function confirmed(summary, line) {
  const dialog = byId("confirm", HTMLDialogElement);
  byId("confirm-title", HTMLElement).textContent = `${summary}?`;
  byId("confirm-text", HTMLElement).textContent = line;
  dialog.returnValue = "";
  dialog.showModal();
  await new Promise((resolve) => dialog.addEventListener("close", resolve, { once: true }));
  return dialog.returnValue === "send";
}

/**
 * @param {Entry} entry
 * @param {Examples} examples what is chosen there is filled in
 * @param {Entry[]} entries all of the document
 */
export function createTry(entry, examples, entries) {
  const { method, path, operation } = entry;
  const id = `${operation["operationId"]}-try`;
  const [type] = bodyOf(operation) ?? [];
  const answer = createAnswer(entries);

  /** @param {string} name @param {Control} control @param {string} hint */
  const field = (name, control, hint) => {
    const described = `${control.id}-error${hint === "" ? "" : ` ${control.id}-hint`}`;
    control.setAttribute("aria-describedby", described);
    const error = make("p", { class: "error", id: `${control.id}-error`, hidden: true });
    control.addEventListener("input", () => {
      error.hidden = true;
      control.removeAttribute("aria-invalid");
    });
    return make(
      "div",
      { class: "field" },
      make("label", { for: control.id }, name),
      control,
      hint === "" ? undefined : make("p", { class: "hint", id: `${control.id}-hint` }, hint),
      error,
    );
  };
  /** @param {Control} control @param {string} reason */
  const refuse = (control, reason) => {
    const error = byId(`${control.id}-error`, HTMLElement);
    error.textContent = reason;
    error.hidden = false;
    control.setAttribute("aria-invalid", "true");
    control.focus();
    return undefined;
  };

  const parameters = /** @type {Schema[]} */ (operation["parameters"] ?? []).map((parameter) => {
    const { name, in: place, schema, required } = parameter;
    const example = String(schema.examples?.[0] ?? "");
    const control = make("input", {
      id: `${id}-${name}`,
      autocomplete: "off",
      spellcheck: "false",
      ...(required ? { required: true } : { placeholder: example }),
    });
    let isTouched = false;
    control.addEventListener("input", () => (isTouched = true));
    // What puts takes an id that is new.
    const fill = () => {
      if (required && !isTouched)
        control.value = (method === "put" ? undefined : recall(path, name)) ?? example;
    };
    fill();
    onLearned(fill);
    return { name, place, required: required === true, control };
  });
  const required = parameters.filter((one) => one.required);
  const optional = parameters.filter((one) => !one.required);

  const files = examples.files.map((name) => ({
    name,
    control: make("input", { id: `${id}-${name}`, type: "file", accept: "image/*" }),
  }));
  const body = make("textarea", {
    id: `${id}-body`,
    spellcheck: "false",
    autocomplete: "off",
  });
  const fillBody = () => {
    const value = examples.body() ?? {};
    const rest = Object.fromEntries(Object.entries(value).filter(([name]) => !examples.files.includes(name)));
    body.value = JSON.stringify(rest, null, 2);
    body.rows = Math.min(MOST_ROWS, body.value.split("\n").length + 1);
    body.dispatchEvent(new Event("input"));
  };

  const send = make("button", { class: "primary" }, "Send");
  const askKey = make("button", { type: "button" }, "Enter a key");
  askKey.addEventListener("click", () => askKey.dispatchEvent(new Event("key-wanted", { bubbles: true })));
  const isKeyed = operation["security"]?.length > 0;
  const keyState = make("p", { class: "hint" });
  const showKey = () => {
    const key = storedKey();
    send.disabled = isKeyed && key === null;
    askKey.hidden = !send.disabled;
    keyState.textContent = !isKeyed
      ? "Sent without a key."
      : key === null
        ? "It needs an API key, which the service prints when it starts."
        : `Sent with the API key …${key.slice(-4)}.`;
  };
  keyed.add(showKey);
  showKey();

  const form = make(
    "form",
    { novalidate: true },
    ...required.map(({ name, control }) => field(name, control, "")),
    ...files.map(({ name, control }) => field(name, control, "")),
    type === undefined
      ? undefined
      : field(type === "application/json" ? "Body" : "Other fields", body, "JSON. Ctrl and Enter sends it."),
    optional.length === 0
      ? undefined
      : make(
          "details",
          { class: "inner" },
          make("summary", {}, `Optional parameters (${optional.length})`),
          ...optional.map(({ name, control, place }) =>
            field(name, control, `In the ${place}; not sent if empty.`),
          ),
        ),
    keyState,
    make("div", { class: "row" }, send, askKey),
  );

  /** The request as filled in; undefined if a field is wrong, which then says so. */
  function filled() {
    let at = path;
    const query = new URLSearchParams();
    const headers = new Headers();
    for (const { name, place, control, required: isRequired } of parameters) {
      const value = control.value.trim();
      if (value === "" && isRequired) return refuse(control, `Fill in ${name}.`);
      if (place === "path") at = at.replace(`{${name}}`, encodeURIComponent(value));
      if (value === "" || place === "path") continue;
      if (place === "query") query.set(name, value);
      else if (/^[\x20-\x7e]+$/.test(value)) headers.set(name, value);
      else return refuse(control, "A header has ASCII characters only.");
    }
    const key = storedKey();
    if (isKeyed && key !== null) headers.set("authorization", `Bearer ${key}`);
    const search = query.size === 0 ? "" : `?${query}`;
    /** @type {{ url: string, init: RequestInit }} */
    const request = { url: `.${at}${search}`, init: { method: method.toUpperCase(), headers } };
    if (type === undefined) return request;
    /** @type {any} */
    let json;
    try {
      json = JSON.parse(body.value);
    } catch (error) {
      return refuse(body, `This is not JSON: ${error instanceof Error ? error.message : String(error)}`);
    }
    if (type === "application/json") {
      headers.set("content-type", type);
      request.init.body = body.value;
      return request;
    }
    if (typeof json !== "object" || json === null || Array.isArray(json))
      return refuse(body, "Write an object.");
    const data = new FormData();
    for (const { name, control } of files) {
      const [file] = control.files ?? [];
      if (file !== undefined) data.set(name, file);
    }
    for (const [name, value] of Object.entries(json)) {
      data.set(name, typeof value === "string" ? value : JSON.stringify(value));
    }
    request.init.body = data;
    return request;
  }

  /** @type {AbortController | undefined} */
  let sending;
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (sending !== undefined) sending.abort();
    else void submit();
  });
  body.addEventListener("keydown", (event) => {
    if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey) || send.disabled) return;
    event.preventDefault();
    form.requestSubmit();
  });

  async function submit() {
    const request = filled();
    if (request === undefined) return;
    const isDestructive = method === "delete" || operation["x-destructive"] === true;
    const line = `${method.toUpperCase()} ${request.url.slice(1)}`;
    if (isDestructive && !(await confirmed(operation["summary"], line))) return;
    sending = new AbortController();
    send.textContent = "Stop";
    try {
      await answer.follow(new URL(request.url, document.baseURI).href, {
        ...request.init,
        signal: sending.signal,
      });
    } finally {
      sending = undefined;
      send.textContent = "Send";
    }
  }

  if (type !== undefined) {
    fillBody();
    examples.onChosen(fillBody);
  }
  return make("details", { class: "try" }, make("summary", {}, "Try it"), form, answer.element);
}
