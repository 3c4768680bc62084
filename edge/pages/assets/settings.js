// Converts between the form, the API's input and links. Controls are named after the API's fields.

import { byId, make } from "./dom.js";

const form = byId("settings", HTMLFormElement);

/** The default number of steps, of a model that has so many. */
const DEFAULT_STEPS = Number(byId("steps", HTMLInputElement).defaultValue);

/** Values of controls by field of the API. @typedef {Record<string, string | number | boolean | (string | number)[] | null | undefined>} Settings */
/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

/** @returns {Control[]} */
const controls = () =>
  [...form.elements].filter(
    /** @returns {element is Control} */
    (element) => "name" in element && element.name !== "" && !(element instanceof HTMLButtonElement),
  );

/** @param {string} name */
const control = (name) => {
  const found = controls().filter((candidate) => candidate.name === name);
  // A prompt has two, of which one is disabled: for texts, and for classes.
  return found.find(({ disabled }) => !disabled) ?? found[0];
};

/** @param {Control} element */
function defaultOf(element) {
  if (!(element instanceof HTMLSelectElement)) return element.defaultValue;
  return ([...element.options].find((option) => option.defaultSelected) ?? element.options[0])?.value ?? "";
}

const TEXTS = new Set([
  "prompt",
  "negative_prompt",
  "prompt_too_long",
  "scheduler",
  "order",
  "output_format",
  "model",
]);

/**
 * A control's value as the API expects it. What is not a number is sent as text, so that the API rejects it.
 * @param {Control} element
 */
function valueOf({ name, value }) {
  if (TEXTS.has(name)) return value;
  if (name === "embed_settings") return value === "true";
  return numberOf(value);
}

/** @param {string} text a number, unless it has more digits than one holds, as a seed may @returns {number | string} */
function numberOf(text) {
  const number = Number(text);
  const isExact = !Number.isInteger(number) || Number.isSafeInteger(number);
  return text.trim() === "" || Number.isNaN(number) || !isExact ? text.trim() : number;
}

/**
 * The prompt, and the settings that differ from their defaults.
 * @returns {{ model: string | undefined, input: Settings }}
 */
export function readSettings() {
  /** @type {Settings} */
  const input = {};
  /** @type {string | undefined} */
  let model;
  for (const element of controls()) {
    if (element.name === "model") {
      // The default is whichever an operator has chosen last.
      if (element instanceof HTMLSelectElement && element.length > 1) model = element.value;
    } else if (element.name === "seed" && element.value.includes(",")) {
      input["seeds"] = element.value.split(",").map(numberOf);
    } else if (!element.disabled && (element.name === "prompt" || element.value !== defaultOf(element))) {
      input[element.name] = valueOf(element);
    }
  }
  return { model, input };
}

/** Which field the control of the seed stands for: a list has one seed per image. @param {Settings} values */
export const seedOf = (values) => (values["seeds"] ? "seeds" : "seed");

/**
 * Fills in the form; missing values get their defaults.
 * @param {Settings} values
 */
export function writeSettings(values) {
  for (const element of controls()) {
    const value = values[element.name === "seed" ? seedOf(values) : element.name];
    const text = value === undefined || value === null ? defaultOf(element) : String(value);
    // A link's model is chosen before the models are known.
    if (element.id === "model" && element instanceof HTMLSelectElement && element.length === 0)
      element.append(make("option", { value: text }, text));
    element.value = text;
    // A select becomes empty when set to a value it does not have.
    if (element instanceof HTMLSelectElement && element.value === "") element.value = defaultOf(element);
  }
  const more = byId("more", HTMLDetailsElement);
  if (controls().some((element) => more.contains(element) && element.value !== defaultOf(element))) {
    more.open = true;
  }
  // The model may be another one.
  byId("model", HTMLSelectElement).dispatchEvent(new Event("change"));
  clearFieldErrors();
  showValues();
}

/** A prediction's input without the values that are defaults. @param {Settings} input */
export function withoutDefaults(input) {
  return Object.fromEntries(
    Object.entries(input).filter(([name, value]) => {
      const element = control(name);
      return value !== null && (element === undefined || String(value) !== defaultOf(element));
    }),
  );
}

/** What has been changed in the form since a run with those settings. @param {Settings} before @returns {Settings} */
export function changesSince(before) {
  /** @type {Settings} */
  const changes = {};
  for (const element of controls()) {
    const name = element.name === "seed" ? seedOf(before) : element.name;
    const value = before[name];
    const was = value === undefined || value === null ? defaultOf(element) : String(value);
    // Without a seed in the form, that of the run stays.
    const isSame = element.value === was || (element.name === "seed" && element.value === "");
    if (name !== "model" && !isSame && !element.disabled) changes[element.name] = valueOf(element);
  }
  return changes;
}

/** What an image starts from is not in a link: it would be as long as a picture, or expire. */
const NOT_IN_LINKS = new Set(["image", "mask", "mask_channel", "strength", "feather", "from"]);

/**
 * Settings as a URL fragment, which is never sent to a server.
 * @param {Settings} settings
 */
export const toFragment = (settings) =>
  new URLSearchParams(
    Object.entries(settings).flatMap(([name, value]) =>
      NOT_IN_LINKS.has(name) ? [] : [[name, String(value)]],
    ),
  ).toString();

/** @param {string} fragment @returns {Record<string, string>} */
export function fromFragment(fragment) {
  const known = new Set(["seeds", ...controls().map(({ name }) => name)]);
  return Object.fromEntries(
    [...new URLSearchParams(fragment.replace(/^#/, ""))].filter(([name]) => known.has(name)),
  );
}

/** The settings of a preset's button. @param {HTMLElement} button @returns {Record<string, string | number>} */
const presetOf = (button) => JSON.parse(button.dataset["preset"] ?? "{}");

/** @type {HTMLButtonElement[]} */
const presets = [...form.querySelectorAll("button")].filter((button) => "preset" in button.dataset);
for (const button of presets) {
  button.addEventListener("click", () => {
    for (const [name, value] of Object.entries(presetOf(button))) {
      const element = control(name);
      if (element !== undefined) element.value = String(value);
    }
    showValues();
  });
}

/** Updates the displayed values of the sliders, and the selected preset. */
export function showValues() {
  for (const output of form.querySelectorAll("output")) {
    const input = document.getElementById(output.htmlFor.value);
    if (input instanceof HTMLInputElement) output.value = input.value;
  }
  // PNG is lossless, and holds settings as only it does.
  const isPng = byId("format", HTMLSelectElement).value === "png";
  byId("quality", HTMLInputElement).disabled = isPng;
  byId("embed", HTMLSelectElement).disabled = !isPng;
  for (const button of presets) {
    const isChosen = Object.entries(presetOf(button)).every(
      ([name, value]) => control(name)?.value === String(value),
    );
    button.setAttribute("aria-pressed", String(isChosen));
  }
}

export function clearFieldErrors() {
  for (const element of form.querySelectorAll(".error")) element.remove();
  for (const element of controls()) {
    element.removeAttribute("aria-invalid");
    const hints = element.getAttribute("aria-describedby")?.split(" ") ?? [];
    const kept = hints.filter((id) => !id.endsWith("-error"));
    if (kept.length < hints.length) element.setAttribute("aria-describedby", kept.join(" "));
  }
}

/**
 * Shows errors next to their fields, and returns those that belong to no field.
 * @param {{ path: string, message: string }[]} errors
 */
export function showFieldErrors(errors) {
  clearFieldErrors();
  /** @type {Control | undefined} */
  let first;
  const rest = errors.filter(({ path, message }) => {
    const name = path.replace(/^input\./, "").split(".")[0] ?? "";
    const element = control({ num_images_per_prompt: "num_outputs", seeds: "seed" }[name] ?? name);
    const field = element?.closest(".field");
    if (element === undefined || !field) return true;
    const id = `${element.id}-error`;
    field.append(make("p", { class: "error", id }, `This ${message}.`));
    element.setAttribute("aria-invalid", "true");
    element.setAttribute(
      "aria-describedby",
      [element.getAttribute("aria-describedby"), id].filter(Boolean).join(" "),
    );
    const details = element.closest("details");
    if (details) details.open = true;
    first ??= element;
    return false;
  });
  first?.focus();
  return rest;
}

/**
 * Shows what a model's makers say: a note, example prompts to choose, and the presets that suit it.
 * @param {{ examples: string[], presets: string[], note: string | null }} card
 */
function showCard({ examples, presets: suitable, note }) {
  const noteText = byId("model-note", HTMLElement);
  noteText.textContent = note;
  noteText.hidden = note === null;
  const chips = examples.map((text) => {
    const chip = make("button", { type: "button" }, text);
    chip.addEventListener("click", () => {
      const prompt = control("prompt");
      if (prompt === undefined) return;
      prompt.value = text;
      prompt.focus();
    });
    return chip;
  });
  const group = byId("examples", HTMLElement);
  group.replaceChildren(...chips);
  group.hidden = chips.length === 0;
  for (const button of presets) button.hidden = !suitable.includes(button.id.replace("preset-", ""));
}

/** Fields that only some models have, by what these are conditioned by. */
const OF_PROMPTS = {
  prompt: ["text"],
  class: ["class"],
  guidance: ["text", "class"],
  negative: ["text", "class"],
  "too-long": ["text"],
};

/** @param {string} conditioning */
function showPrompts(conditioning) {
  for (const [id, kinds] of Object.entries(OF_PROMPTS)) {
    const element = byId(id, HTMLElement);
    const isMissing = !kinds.includes(conditioning);
    element.toggleAttribute("disabled", isMissing);
    const field = element.closest(".field");
    if (field instanceof HTMLElement) field.hidden = isMissing;
  }
}

/** Suggests classes by name, or by label where a name is that of several. @param {Record<string, string>} names by label */
export function suggestClasses(names) {
  /** @param {string} name */
  const synonymsOf = (name) => name.split(",").map((synonym) => synonym.trim().toLowerCase());
  /** @type {Map<string, number>} */
  const uses = new Map();
  for (const synonym of Object.values(names).flatMap(synonymsOf))
    uses.set(synonym, (uses.get(synonym) ?? 0) + 1);
  const options = Object.entries(names).map(([label, name]) => {
    const [first = ""] = synonymsOf(name);
    return make("option", { value: uses.get(first) === 1 ? first : label, label: name });
  });
  byId("classes", HTMLDataListElement).replaceChildren(...options);
}

/** @typedef {{ id: string, conditioning: "text" | "class" | "none", defaults: { guidance_scale: number }, limits: { max_inference_steps: number }, card: Parameters<typeof showCard>[0] }} Model */

/**
 * Lists the models, and applies the selected one's card, maximum of steps and default guidance, unless guidance was changed.
 * @param {Model[]} models
 */
export function showModels(models) {
  const select = byId("model", HTMLSelectElement);
  const chosen = select.value;
  select.replaceChildren(...models.map(({ id }) => make("option", { value: id }, id)));
  if (models.some(({ id }) => id === chosen)) select.value = chosen;
  byId("model-field", HTMLElement).hidden = models.length < 2;
  const applyModel = () => {
    const steps = byId("steps", HTMLInputElement);
    const model = models.find(({ id }) => id === select.value);
    if (model === undefined) return;
    const wanted = steps.value;
    steps.max = String(model.limits.max_inference_steps);
    steps.defaultValue = String(Math.min(DEFAULT_STEPS, model.limits.max_inference_steps));
    steps.value = wanted;
    const guidance = byId("guidance", HTMLInputElement);
    const isMoved = guidance.value !== guidance.defaultValue;
    guidance.defaultValue = String(model.defaults.guidance_scale);
    if (!isMoved) guidance.value = guidance.defaultValue;
    showPrompts(model.conditioning);
    showCard(model.card);
    showValues();
  };
  select.addEventListener("change", applyModel);
  applyModel();
}
