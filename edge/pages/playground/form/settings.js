// Converts between the form, the API's input and links.

import { byId, make } from "../../assets/dom.js";
import { clearFieldErrors, control, controls, defaultOf, form, numberOf, seedOf, valueOf } from "./fields.js";
import { hasStart } from "./start.js";

/** @typedef {import("./fields.js").Settings} Settings */

/** The preset that the API applies by itself. */
const API_PRESET = "best";

/** The model that a link or a run names, until the models are known. */
let wantedModel = "";
export const modelWanted = () => wantedModel;

/** Fields whose value was given, by a person or a link, and which a model's default does not replace. @type {Set<string>} */
const given = new Set();
/** @param {string} name */
export const isGiven = (name) => given.has(name);
form.addEventListener("input", ({ target }) => {
  if (target instanceof HTMLElement && "name" in target) given.add(String(target.name));
});

// Presets

/** The settings of a preset's button. @param {HTMLElement} button @returns {Record<string, string | number>} */
const valuesOf = (button) => JSON.parse(button.dataset["preset"] ?? "{}");
/** @type {HTMLButtonElement[]} */
export const presets = [...form.querySelectorAll("button")].filter((button) => "preset" in button.dataset);
/** @param {HTMLElement} button */
export const nameOf = ({ id }) => id.replace("preset-", "");

/** A preset's settings, with as many steps as the model has. @param {HTMLElement} button */
export function presetOf(button) {
  const values = valuesOf(button);
  const most = Number(byId("steps", HTMLInputElement).max);
  return { ...values, num_inference_steps: Math.min(Number(values["num_inference_steps"]), most) };
}
/** The fields that presets set. */
export const SAMPLER = Object.keys(valuesOf(presets[0] ?? form));

/** @param {string} name */
function applyPreset(name) {
  const button = presets.find((candidate) => nameOf(candidate) === name);
  for (const [field, value] of Object.entries(button === undefined ? {} : presetOf(button))) {
    const element = control(field);
    if (element !== undefined) element.value = String(value);
  }
}

/** Chooses the model's preset by itself: the API's, if that suits the model, else the last that does. @param {readonly string[]} suitable */
export function chooseDefaultPreset(suitable) {
  const name = suitable.includes(API_PRESET) ? API_PRESET : (suitable.at(-1) ?? API_PRESET);
  if (!SAMPLER.some(isGiven)) applyPreset(name);
}

/** The preset that has these values, if one does. @param {(field: string) => Settings[string]} value */
const presetWith = (value) =>
  presets.find((button) =>
    Object.entries(presetOf(button)).every(
      ([field, wanted]) => String(value(field) ?? "") === String(wanted),
    ),
  );

for (const button of presets) {
  button.addEventListener("click", () => {
    applyPreset(nameOf(button));
    for (const field of SAMPLER) given.add(field);
    showValues();
  });
}

// Number of images, seeds

/** @type {HTMLButtonElement[]} */
const counts = [...form.querySelectorAll("button")].filter((button) => "images" in button.dataset);
const outputs = byId("outputs", HTMLInputElement);
for (const button of counts) {
  button.addEventListener("click", () => {
    outputs.value = button.dataset["images"] ?? "1";
    outputs.dispatchEvent(new Event("input", { bubbles: true }));
  });
}
const seed = byId("seed", HTMLInputElement);
export const randomSeed = () => String(crypto.getRandomValues(new Uint32Array(1))[0]);
/** @param {string} value */
function setSeed(value) {
  seed.value = value;
  seed.dispatchEvent(new Event("input", { bubbles: true }));
}
byId("die", HTMLButtonElement).addEventListener("click", () => setSeed(randomSeed()));
byId("seed-row", HTMLButtonElement).addEventListener("click", () => {
  const [first = ""] = seed.value.split(",");
  const start = BigInt(/^\s*\d+\s*$/.test(first) ? first : randomSeed());
  // Of one image there is nothing to compare.
  if (Number(outputs.value) < 2) outputs.value = "4";
  setSeed(Array.from({ length: Number(outputs.value) }, (_, i) => String(start + BigInt(i))).join(", "));
});

// Reading

/**
 * The prompt, and the settings that differ from their defaults, in their shortest form.
 * @returns {{ model: string | undefined, input: Settings }}
 */
export function readSettings() {
  /** @type {Settings} */
  const input = {};
  /** @type {string | undefined} */
  let model;
  const preset = presetWith((field) => control(field)?.value);
  for (const element of controls()) {
    const { name, value } = element;
    if (name === "model") {
      // The default is whichever an operator has chosen last.
      if (element instanceof HTMLSelectElement && element.length > 1) model = value;
    } else if (name === "seed" && value.includes(",")) input["seeds"] = value.split(",").map(numberOf);
    else if (element.disabled) continue;
    else if (preset !== undefined && SAMPLER.includes(name)) {
      if (nameOf(preset) !== API_PRESET) input["preset"] = nameOf(preset);
    } else if (name === "prompt" || value !== defaultOf(element)) input[name] = valueOf(element);
    // The default may become another one.
    else if (name === "guidance_scale" && isGiven(name)) input[name] = valueOf(element);
  }
  return { model, input };
}

/** A prediction's input without what is a default, in its shortest form. @param {Settings} input @returns {Settings} */
export function shortest(input) {
  const preset = presetWith((field) => input[field]);
  /** @type {Settings} */
  const short = {};
  for (const [name, value] of Object.entries(input)) {
    const element = control(name);
    if (value === null || (preset !== undefined && SAMPLER.includes(name))) continue;
    if (element === undefined || String(value) !== defaultOf(element)) short[name] = value;
  }
  if (preset !== undefined && nameOf(preset) !== API_PRESET) short["preset"] = nameOf(preset);
  return short;
}

/** What has been changed in the form since a run with those settings. @param {Settings} before whole @returns {Settings} */
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

// Writing

/**
 * Fills in the form; missing values get their defaults.
 * @param {Settings} values
 */
export function writeSettings(values) {
  given.clear();
  wantedModel = String(values["model"] ?? "");
  for (const element of controls()) if (element.name !== "model") element.value = defaultOf(element);
  if (typeof values["preset"] === "string") {
    applyPreset(values["preset"]);
    for (const field of SAMPLER) given.add(field);
  }
  for (const element of controls()) {
    const { name } = element;
    const value = values[name === "seed" ? seedOf(values) : name];
    if (name === "model" || value === undefined || value === null) continue;
    given.add(name);
    element.value = String(value);
    // A select becomes empty when set to a value it does not have.
    if (element instanceof HTMLSelectElement && element.value === "") element.value = defaultOf(element);
  }
  const model = byId("model", HTMLSelectElement);
  if ([...model.options].some(({ value }) => value === wantedModel)) model.value = wantedModel;
  else if (model.length === 0 && wantedModel !== "") model.append(make("option", {}, wantedModel));
  // The model may be another one.
  model.dispatchEvent(new Event("change"));
  clearFieldErrors();
  showValues();
}

/** Updates the displayed values of the sliders, and what is chosen among buttons. */
export function showValues() {
  for (const output of form.querySelectorAll("output")) {
    const input = document.getElementById(output.htmlFor.value);
    if (input instanceof HTMLInputElement) output.value = input.value;
  }
  // PNG is lossless, and holds settings as only it does.
  const isPng = byId("format", HTMLSelectElement).value === "png";
  byId("quality", HTMLInputElement).disabled = isPng;
  byId("embed", HTMLSelectElement).disabled = !isPng;
  for (const [id, isHidden] of /** @type {const} */ ([
    ["quality", isPng],
    ["embed", !isPng],
  ])) {
    const field = byId(id, HTMLElement).closest(".field");
    if (field instanceof HTMLElement) field.hidden = isHidden;
  }
  const preset = presetWith((field) => control(field)?.value);
  for (const button of presets) button.setAttribute("aria-pressed", String(button === preset));
  for (const button of counts)
    button.setAttribute("aria-pressed", String(button.dataset["images"] === outputs.value));
  const changed = controls().filter(
    (element) =>
      element.closest("#more") !== null &&
      !["model", "num_outputs"].includes(element.name) &&
      !(preset !== undefined && SAMPLER.includes(element.name)) &&
      !element.disabled &&
      element.value !== defaultOf(element),
  ).length;
  byId("changed", HTMLElement).textContent = [
    ...(changed === 0 ? [] : [`${changed} changed`]),
    ...(hasStart() ? ["starts from a picture"] : []),
  ].join(" · ");
}

// Links

/** What an image starts from is not in a link: it would be as long as a picture, or expire. */
const NOT_IN_LINKS = new Set(["image", "mask", "mask_channel", "strength", "feather", "from"]);

/**
 * Settings as a URL fragment, which is never sent to a server.
 * @param {Settings} settings
 */
export const toFragment = (settings) =>
  new URLSearchParams(
    Object.entries(settings).flatMap(([name, value]) =>
      NOT_IN_LINKS.has(name) || value === undefined ? [] : [[name, String(value)]],
    ),
  ).toString();

/** The settings of a link, of which it may have others. @param {URLSearchParams} fragment @returns {Record<string, string>} */
export function fromFragment(fragment) {
  const known = new Set(["preset", "seeds", ...controls().map(({ name }) => name)]);
  return Object.fromEntries([...fragment].filter(([name]) => known.has(name)));
}
