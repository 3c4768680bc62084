// The models: their list, and what the chosen one makes of the form.

import { VqdError } from "../../client/index.js";
import { client } from "../../assets/api.js";
import { byId, make } from "../../assets/dom.js";
import { chooseDefaultPreset, isGiven, modelWanted, nameOf, presets, showValues } from "./settings.js";
import { setStartSize } from "./start.js";

/** @typedef {import("../../client/types.d.ts").Model} Model */

const select = byId("model", HTMLSelectElement);
const steps = byId("steps", HTMLInputElement);
const guidance = byId("guidance", HTMLInputElement);
const outputs = byId("outputs", HTMLInputElement);
const note = byId("service-note", HTMLElement);

/** The default number of steps, of a model that has so many. */
const DEFAULT_STEPS = Number(steps.defaultValue);
/** How often to look for a model while there is none, in ms. */
const RETRY_MS = 3_000;

/** @type {Model[]} */
let models = [];
/** @type {(model: Model) => void} */
let chosen = () => {};
/** Calls `listener` with the model that is chosen, whenever it changes. @param {(model: Model) => void} listener */
export const onModel = (listener) => (chosen = listener);

const currentModel = () => models.find(({ id }) => id === select.value) ?? models[0];

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
  byId("no-prompt", HTMLElement).hidden = conditioning !== "none";
}

/** @param {Model} model */
function apply(model) {
  const wanted = steps.value;
  steps.max = String(model.limits.max_inference_steps);
  steps.defaultValue = String(Math.min(DEFAULT_STEPS, model.limits.max_inference_steps));
  steps.value = wanted;
  guidance.defaultValue = String(model.defaults.guidance_scale);
  if (!isGiven("guidance_scale")) guidance.value = guidance.defaultValue;
  showPrompts(model.conditioning);
  /** @type {readonly string[]} */
  const suitable = model.card.presets;
  for (const button of presets) button.hidden = !suitable.includes(nameOf(button));
  chooseDefaultPreset(suitable);
  setStartSize({ width: model.limits.image_width, height: model.limits.image_height });
  showSeconds();
  showValues();
}

/** Seconds for a step of an image, as this service has measured; null if it has not. */
export const pace = () => currentModel()?.seconds_per_image_step ?? null;

/** How long each preset takes on this service, by what it has measured. */
function showSeconds() {
  const measured = pace();
  for (const button of presets) {
    const { num_inference_steps: wanted } = JSON.parse(button.dataset["preset"] ?? "{}");
    const seconds = (measured ?? 0) * Math.min(wanted, Number(steps.max)) * Number(outputs.value);
    const text =
      measured === null ? "" : seconds < 0.95 ? `${seconds.toFixed(1)} s` : `${Math.round(seconds)} s`;
    button.querySelector("small")?.replaceChildren(text);
  }
}
outputs.addEventListener("input", showSeconds);

select.addEventListener("change", () => {
  const model = currentModel();
  if (model === undefined) return;
  apply(model);
  chosen(model);
});

/** Lists the models; says so while there are none, and looks again. Throws a VqdError. */
export async function loadModels() {
  models = await client.models();
  note.hidden = models.length > 0;
  if (models.length === 0) {
    note.textContent =
      "No model is being served: no worker has announced one yet. This page looks again by itself.";
    setTimeout(() => void loadModels().catch(ignoreUnreachable), RETRY_MS);
    return;
  }
  const before = modelWanted() === "" ? select.value : modelWanted();
  select.replaceChildren(...models.map(({ id }) => make("option", { value: id }, id)));
  if (models.some(({ id }) => id === before)) select.value = before;
  byId("model-field", HTMLElement).hidden = models.length < 2;
  select.dispatchEvent(new Event("change"));
}

/** Reads the pace again, which a run may have changed. */
export async function refreshPace() {
  try {
    const fresh = await client.models();
    if (fresh.length > 0) models = fresh;
    showSeconds();
  } catch (error) {
    ignoreUnreachable(error);
  }
}

/** @param {unknown} error */
function ignoreUnreachable(error) {
  if (!(error instanceof VqdError)) throw error;
}

// Classes

/** Suggests classes by name, or by label where a name is that of several. @param {Record<string, string>} names by label */
function suggestClasses(names) {
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

/** Suggestions are a help: without them, classes can be typed. @param {Model} model */
export async function loadClasses(model) {
  suggestClasses({});
  if (model.conditioning !== "class") return;
  const { id2label } = await client.request(`v1/models/${model.id}/classes`);
  if (select.value === model.id) suggestClasses(id2label);
}
