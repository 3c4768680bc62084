// What the stage shows before the first run: tokens that become a picture, and prompts to choose.

import { paint } from "../../client/index.js";
import { byId, make } from "../../assets/dom.js";

/** How long the tokens of a picture take to appear. */
const SHOWN_MS = 4_500;
/** Of which the last part shows the picture itself. */
const FADE_MS = 900;

/**
 * @typedef {object} Suggestion
 * @property {string} prompt
 * @property {number} [seed]
 * @property {string} [file]
 * @property {string} [tokens] two digits of base 64 each: those of the finished picture, as indices of the colours
 * @property {string} [order] a digit of base 64 for each token: the step after which it does not change any more
 */
/** @typedef {{ model: string, version: string, steps: number, mask: number, width: number, height: number, rgb: string, suggestions: Suggestion[] }} Shipped */

const section = byId("starter", HTMLElement);
const list = byId("examples", HTMLUListElement);
const canvas = byId("starter-canvas", HTMLCanvasElement);
const still = matchMedia("(prefers-reduced-motion: reduce)");

/** @param {string} base64 */
const bytesOf = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";
/** The numbers in a text that has `count` digits for each. @param {string} text @param {number} count */
const numbersOf = (text, count) =>
  Uint16Array.from({ length: text.length / count }, (_, i) => {
    let number = 0;
    for (const digit of text.slice(i * count, (i + 1) * count)) number = 64 * number + DIGITS.indexOf(digit);
    return number;
  });

/** @type {Shipped | undefined} */
let shipped;
let frame = 0;

async function load() {
  const response = await fetch("suggestions/suggestions.json");
  shipped = await response.json();
}
const loaded = load();

/** @param {Suggestion} suggestion @param {number} share of the steps */
function paintStep({ tokens = "", order = "" }, share) {
  if (shipped === undefined) return;
  const { mask, width, height, rgb, steps } = shipped;
  const step = Math.round(share * steps);
  const settled = numbersOf(order, 1);
  const now = numbersOf(tokens, 2).map((token, i) => ((settled[i] ?? 0) <= step ? token : mask));
  paint(canvas, now, { mask, width, height, rgb: bytesOf(rgb) });
}

/** Shows how a suggestion's picture was made; still, and half-way, for whoever wants no motion. @param {Suggestion} suggestion @param {number} ms */
function play(suggestion, ms) {
  cancelAnimationFrame(frame);
  canvas.setAttribute("aria-label", `The tokens of “${suggestion.prompt}”, as they are unmasked`);
  if (still.matches) return paintStep(suggestion, 0.6);
  const start = performance.now();
  let drawn = -1;
  const draw = (/** @type {number} */ now) => {
    const share = Math.min(1, (now - start) / (ms - FADE_MS));
    const step = Math.round(share * (shipped?.steps ?? 1));
    if (step !== drawn) paintStep(suggestion, share);
    drawn = step;
    if (share < 1 && !section.hidden) frame = requestAnimationFrame(draw);
  };
  frame = requestAnimationFrame(draw);
}

/**
 * Offers prompts: those that ship with the page if they are this model's, with their pictures, else those of its card.
 * @param {{ id: string, latest_version: { id: string }, card: { examples: readonly string[] } } | undefined} model undefined before one is known
 * @param {(suggestion: Suggestion) => void} onChosen
 */
export async function showSuggestions(model, onChosen) {
  await loaded.catch(() => {});
  const isShipped =
    shipped !== undefined && (model === undefined || model.latest_version.id === shipped.version);
  /** @type {readonly Suggestion[]} */
  const suggestions = isShipped
    ? (shipped?.suggestions ?? [])
    : (model?.card.examples ?? []).map((prompt) => ({ prompt }));
  canvas.hidden = !isShipped;
  list.hidden = suggestions.length === 0;
  list.replaceChildren(
    ...suggestions.map((suggestion) => {
      const { prompt, file } = suggestion;
      const picture =
        file === undefined
          ? undefined
          : make("img", { src: `suggestions/${file}`, alt: "", width: 96, height: 96, loading: "lazy" });
      const button = make("button", { type: "button" }, picture, make("span", {}, prompt));
      button.addEventListener("click", () => onChosen(suggestion));
      if (isShipped) {
        for (const type of ["pointerenter", "focus"])
          button.addEventListener(type, () => play(suggestion, SHOWN_MS / 3));
      }
      return make("li", {}, button);
    }),
  );
  const [first] = suggestions;
  if (isShipped && first !== undefined) play(first, SHOWN_MS);
}
