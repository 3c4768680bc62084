// The form's controls, which are named after the API's fields: their values and their errors.

import { byId, make } from "../../assets/dom.js";

export const form = byId("settings", HTMLFormElement);

/** Values of controls by field of the API. @typedef {Record<string, string | number | boolean | (string | number)[] | null | undefined>} Settings */
/** @typedef {HTMLInputElement | HTMLSelectElement | HTMLTextAreaElement} Control */

/** @returns {Control[]} */
export const controls = () =>
  [...form.elements].filter(
    /** @returns {element is Control} */
    (element) => "name" in element && element.name !== "" && !(element instanceof HTMLButtonElement),
  );

/** @param {string} name */
export const control = (name) => {
  const found = controls().filter((candidate) => candidate.name === name);
  // A prompt has two, of which one is disabled: for texts, and for classes.
  return found.find(({ disabled }) => !disabled) ?? found[0];
};

/** @param {Control} element */
export function defaultOf(element) {
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
export function valueOf({ name, value }) {
  if (TEXTS.has(name)) return value;
  if (name === "embed_settings") return value === "true";
  return numberOf(value);
}

/** @param {string} text a number, unless it has more digits than one holds, as a seed may @returns {number | string} */
export function numberOf(text) {
  const number = Number(text);
  const isExact = !Number.isInteger(number) || Number.isSafeInteger(number);
  return text.trim() === "" || Number.isNaN(number) || !isExact ? text.trim() : number;
}

/** Which field the control of the seed stands for: a list has one seed per image. @param {Settings} values */
export const seedOf = (values) => (values["seeds"] ? "seeds" : "seed");

// Errors

/** @param {Control} element */
function clearError(element) {
  element.removeAttribute("aria-invalid");
  document.getElementById(`${element.id}-error`)?.remove();
  const hints = element.getAttribute("aria-describedby")?.split(" ") ?? [];
  const kept = hints.filter((id) => !id.endsWith("-error"));
  if (kept.length < hints.length) element.setAttribute("aria-describedby", kept.join(" "));
}

export function clearFieldErrors() {
  for (const element of controls()) clearError(element);
}
// What is being corrected is not wrong any more, or will be told again.
form.addEventListener("input", ({ target }) => {
  const element = controls().find((candidate) => candidate === target);
  if (element !== undefined) clearError(element);
});

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
