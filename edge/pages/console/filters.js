// Which runs are listed: by status, by model and by a part of the id, as the address says (#runs?status=failed).

import { make } from "../assets/dom.js";
import { STATUS } from "./run.js";

/** How long someone who types is waited for. */
const TYPING_MS = 300;

const addressed = () => new URLSearchParams(location.hash.split("?")[1] ?? "");

/** The form of the filters, which follows the address and changes it. @param {() => void} onChange */
export function createFilters(onChange) {
  const any = () => make("option", { value: "" }, "Any");
  const statuses = Object.entries(STATUS).map(([value, [, text]]) => make("option", { value }, text));
  const model = make("select", {}, any());
  const id = make("input", { autocomplete: "off", maxlength: 100, placeholder: "A part of it" });
  const controls = { Status: make("select", {}, any(), ...statuses), Model: model, Id: id };
  const fields = Object.entries(controls).map(([label, control]) => {
    control.name = label.toLowerCase();
    control.id = `filter-${control.name}`;
    return make("div", { class: "field" }, make("label", { for: control.id }, label), control);
  });
  const clear = make("button", { type: "button" }, "Clear filters");
  const form = make(
    "form",
    { class: "filters", role: "search", "aria-label": "Which runs" },
    ...fields,
    clear,
  );

  /** Adds models that can be chosen. @param {readonly string[]} names */
  const offer = (names) => {
    const known = new Set([...model.options].map(({ value }) => value));
    for (const name of new Set(names)) if (!known.has(name)) model.append(make("option", {}, name));
  };
  const read = () => {
    const given = addressed();
    offer([given.get("model") ?? ""]);
    for (const control of Object.values(controls)) control.value = given.get(control.name) ?? "";
    clear.hidden = given.size === 0;
  };
  /** @type {ReturnType<typeof setTimeout> | undefined} */
  let typing;
  const write = () => {
    clearTimeout(typing);
    const values = Object.values(controls).map(({ name, value }) => [name, value.trim()]);
    const wanted = new URLSearchParams(values.filter(([, value]) => value !== ""));
    clear.hidden = wanted.size === 0;
    if (wanted.toString() === addressed().toString()) return;
    history.replaceState(null, "", wanted.size === 0 ? "#runs" : `#runs?${wanted.toString()}`);
    onChange();
  };

  form.addEventListener("change", write);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    write();
  });
  id.addEventListener("input", () => {
    clearTimeout(typing);
    typing = setTimeout(write, TYPING_MS);
  });
  clear.addEventListener("click", () => {
    form.reset();
    write();
    controls.Status.focus();
  });
  read();
  return { form, query: addressed, offer, stop: () => clearTimeout(typing) };
}
