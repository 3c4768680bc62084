// The form of a grid: which settings its images differ in, with which values; how many images that is, and how long they take.

import { byId, make } from "../../assets/dom.js";
import { inSeconds } from "../follow.js";
import { control, form, numberOf } from "../form/fields.js";
import { pace } from "../form/models.js";
import { nameOf, presetOf, presets, readSettings, SAMPLER, toFragment } from "../form/settings.js";
import { hasStart } from "../form/start.js";

/** @typedef {import("../form/fields.js").Settings} Settings */
/** @typedef {{ field: string, values: readonly string[] }} Axis */
/** @typedef {{ model: string | undefined, input: Settings, x: Axis, y: Axis | undefined, cells: readonly { label: string, input: Settings }[] }} Plan cells are row by row */
/** @typedef {{ at: HTMLElement, text: string }} Complaint */

/** Labels, and values to begin with. @type {Record<string, [string, string]>} */
const AXES = {
  guidance_scale: ["Guidance", "1, 3, 5, 7"],
  num_inference_steps: ["Steps", "5, 10, 25"],
  temperature: ["Temperature", "0.3, 0.5, 0.8, 1"],
  preset: ["Quality", ""],
  order: ["Order", "posterior, confidence, halton"],
  seed: ["Seed", "1, 2, 3, 4"],
};
const LARGEST_SEED = "18446744073709551615";

/** @param {string} field */
export const nameOfAxis = (field) => AXES[field]?.[0] ?? field;

const plan = byId("grid-plan", HTMLElement);
const error = byId("grid-error", HTMLElement);
const axes = ["x", "y"].map((name) => ({
  choice: byId(`grid-${name}`, HTMLSelectElement),
  given: byId(`grid-${name}-values`, HTMLInputElement),
}));
const suitable = () => presets.filter(({ hidden }) => !hidden).map(nameOf);

/** What is wrong with the values of an axis; empty if nothing is. @param {Axis} axis */
function complaintOf({ field, values }) {
  if (values.length < 2 || values.length > 5) return "must be 2 to 5, with commas between them";
  if (new Set(values).size < values.length) return "must differ from each other";
  const element = control(field);
  if (element?.disabled) return "are of no use with this model";
  const options = element instanceof HTMLSelectElement ? [...element.options].map(({ value }) => value) : [];
  const choices = field === "preset" ? suitable() : options;
  const { min = "0", max = LARGEST_SEED } = element instanceof HTMLInputElement && element.max ? element : {};
  const isWhole = /seed|steps/.test(field);
  const wrong = values.find((value) => {
    if (choices.length > 0) return !choices.includes(value);
    const number = Number(value);
    return !(number >= Number(min) && number <= Number(max)) || (isWhole && !Number.isInteger(number));
  });
  if (wrong === undefined) return "";
  const range = `${isWhole ? "whole numbers" : "numbers"} from ${min} to ${max}`;
  return `must be ${choices.length > 0 ? `among ${choices.join(", ")}` : range}, not “${wrong}”`;
}

/** @param {Complaint} [complaint] */
export function complain(complaint) {
  for (const { choice, given } of axes)
    for (const element of [choice, given]) element.toggleAttribute("aria-invalid", false);
  error.textContent = complaint?.text ?? "";
  error.hidden = complaint === undefined;
  complaint?.at.setAttribute("aria-invalid", "true");
  complaint?.at.focus();
}

/** What the form asks for; or what is wrong with it, and where. @returns {Plan | Complaint} */
export function readPlan() {
  /** @type {Axis[]} */
  const wanted = [];
  for (const { choice, given } of axes) {
    const { value: field } = choice;
    if (field === "") continue;
    const values = given.value.split(",").flatMap((value) => value.trim() || []);
    const wrong = complaintOf({ field, values });
    if (wrong !== "") return { at: given, text: `${nameOfAxis(field)}: the values ${wrong}.` };
    if (wanted[0]?.field === field) return { at: choice, text: "Down must be another setting than across." };
    if (hasStart()) return { at: choice, text: "Grids do not start from a picture: remove it first." };
    wanted.push({ field, values });
  }
  const [x, y] = wanted;
  if (x === undefined) return { at: error, text: "Choose a setting." };
  const { model, input } = readSettings();
  const fields = wanted.map(({ field }) => field);
  // One image in each place, of one seed. What is set beside a preset takes its place.
  const [first] = /** @type {(string | number)[]} */ (input["seeds"] ?? []);
  if (first !== undefined) input["seed"] = first;
  const others = fields.includes("preset") ? SAMPLER : [];
  for (const name of ["seeds", "num_outputs", "num_previews", ...fields, ...others]) delete input[name];
  const cells = (y?.values ?? [""]).flatMap((down) =>
    x.values.map((across) => {
      const pairs = fields.map((field, i) => /** @type {const} */ ([field, i === 0 ? across : down]));
      return {
        label: pairs.map(([field, value]) => `${nameOfAxis(field)} ${value}`).join(", "),
        input: Object.fromEntries(pairs.map(([field, value]) => [field, numberOf(value)])),
      };
    }),
  );
  return { model, input, x, y, cells };
}

/** How many steps an image takes. @param {Settings} input */
function stepsOf({ num_inference_steps: steps, preset }) {
  const button = presets.find((candidate) => nameOf(candidate) === preset);
  const chosen =
    button === undefined ? control("num_inference_steps")?.value : presetOf(button)["num_inference_steps"];
  return Number(steps ?? chosen);
}

/** Says what the grid will be, before anybody asks for it. */
function tell() {
  const wanted = readPlan();
  if (!("cells" in wanted)) return (plan.textContent = wanted.text);
  const steps = wanted.cells.reduce((sum, { input }) => sum + stepsOf({ ...wanted.input, ...input }), 0);
  const seconds = (pace() ?? 0) * steps;
  const about = seconds < 1 ? "" : `, about ${inSeconds(seconds)}`;
  return (plan.textContent = `${wanted.cells.length} images${about}`);
}

/** Everything of a grid but its runs, for its address. @param {Plan} plan */
export function settingsOf({ model, input, x, y }) {
  /** @param {Axis | undefined} axis */
  const ofAxis = (axis) => axis && `${axis.field}:${axis.values.join(",")}`;
  const settings = new URLSearchParams(toFragment({ x: ofAxis(x), y: ofAxis(y), ...input, model }));
  settings.sort();
  return settings.toString();
}

/** Fills in the axes of an address. @param {URLSearchParams} address */
export function writeAxes(address) {
  for (const [i, { choice, given }] of axes.entries()) {
    const [field = "", values = ""] = (address.get(i === 0 ? "x" : "y") ?? "").split(":");
    choice.value = field;
    given.value = values.replaceAll(",", ", ");
  }
  tell();
}

for (const { choice, given } of axes) {
  choice.append(...Object.entries(AXES).map(([value, [label]]) => make("option", { value }, label)));
  choice.addEventListener("change", () => {
    given.value = choice.value === "preset" ? suitable().join(", ") : (AXES[choice.value]?.[1] ?? "");
    tell();
  });
  given.addEventListener("input", () => complain());
}
axes[0]?.choice.dispatchEvent(new Event("change"));
// Any setting may change how long it takes.
for (const type of ["input", "click"]) form.addEventListener(type, tell);
