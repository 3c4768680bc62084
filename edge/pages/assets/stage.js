// The stage: shows tokens as they are unmasked, finished images, progress, and the replay of the steps.

import { byId, make } from "./dom.js";
import { paint } from "../client/index.js";

const tiles = byId("images", HTMLElement);
const empty = byId("empty", HTMLElement);
const progressArea = byId("progress-area", HTMLElement);
const progress = byId("progress", HTMLProgressElement);
const progressText = byId("progress-text", HTMLElement);
const announcer = byId("announcer", HTMLElement);
const replay = byId("replay", HTMLInputElement);
const replayField = byId("replay-field", HTMLElement);
const forkButton = byId("fork", HTMLButtonElement);
const replayValue = byId("replay-value", HTMLOutputElement);
const compare = byId("compare", HTMLInputElement);
const compareField = byId("compare-field", HTMLElement);
const compareValue = byId("compare-value", HTMLOutputElement);

/** Shows so much of what the images started from, in percent from the left. @param {string} percent */
function setCompared(percent) {
  compare.value = percent;
  compareValue.value = `${percent} %`;
  tiles.style.setProperty("--before", `${percent}%`);
}
compare.addEventListener("input", () => setCompared(compare.value));

/** How often screen readers announce progress: every step would be too much. */
const ANNOUNCED_SHARE = 0.25;

/**
 * @typedef {object} Step
 * @property {number} step
 * @property {number} total
 * @property {number} masked
 * @property {Uint16Array[]} tokens
 */

/** @typedef {{ canvas: HTMLCanvasElement, image: HTMLImageElement, partial: HTMLImageElement, before: HTMLCanvasElement, caption: HTMLElement, link: HTMLAnchorElement }} Tile */

export class Stage {
  /** @type {Tile[]} */
  #tiles = [];
  /** @type {Step[]} */
  #steps = [];
  /** @type {import("../client/types.d.ts").Palette | undefined} */
  #palette;
  #announced = 0;
  /** The step on display; 0 for the newest. */
  #replayed = 0;
  #prompt = "";
  /** What the images start from. @type {HTMLCanvasElement | undefined} */
  #before;

  constructor() {
    replay.addEventListener("input", () => {
      const step = Number(replay.value);
      this.#replayed = step === this.#steps.length ? 0 : step;
      forkButton.disabled = this.#replayed === 0;
      this.#show();
    });
  }

  /**
   * Clears the stage for a new prediction.
   * @param {{ images: number, prompt: string, before?: HTMLCanvasElement | undefined }} options
   */
  start({ images, prompt, before }) {
    this.#prompt = prompt;
    this.#before = before;
    setCompared("0");
    compareField.hidden = true;
    this.#steps = [];
    this.#replayed = 0;
    this.#announced = 0;
    this.#tiles = Array.from({ length: images }, (_, i) => this.#newTile(i, images));
    empty.hidden = true;
    replayField.hidden = true;
    forkButton.disabled = true;
    progressArea.hidden = false;
    progress.removeAttribute("value");
  }

  /** @param {number} width @param {number} height */
  setAspect(width, height) {
    tiles.style.setProperty("--aspect", String(width / height));
  }

  /** @param {import("../client/types.d.ts").Palette | undefined} palette */
  setPalette(palette) {
    this.#palette = palette;
    this.#show();
  }

  /** @param {Step} step */
  addStep(step) {
    // An attempt that starts over replaces the steps of the one before.
    this.#steps.length = Math.min(this.#steps.length, step.step - 1);
    this.#steps.push(step);
    progress.max = step.total;
    progress.value = step.step;
    const count = step.tokens.reduce((sum, tokens) => sum + tokens.length, 0);
    this.say(`Step ${step.step} of ${step.total} · ${count - step.masked} of ${count} tokens unmasked`);
    const share = Math.floor(step.step / step.total / ANNOUNCED_SHARE);
    if (share > this.#announced) {
      this.#announced = share;
      this.announce(`Step ${step.step} of ${step.total}`);
    }
    replayField.hidden = false;
    replay.max = String(this.#steps.length);
    if (this.#replayed === 0) replay.value = replay.max;
    this.#show();
  }

  /**
   * Shows a finished image. Resolves when it is visible; rejects if it cannot be loaded.
   * @param {number} index
   * @param {string} url
   * @returns {Promise<HTMLImageElement | undefined>}
   */
  async showImage(index, url) {
    const tile = this.#tiles[index];
    if (tile === undefined) return undefined;
    const { image, partial, link } = tile;
    image.src = url;
    await image.decode();
    image.dataset["done"] = "true";
    partial.hidden = true;
    link.href = url;
    link.hidden = false;
    this.#show();
    return image;
  }

  /**
   * Shows a preview in a corner of the tokens, until the image is finished.
   * @param {number} index
   * @param {string} url
   */
  async showPartial(index, url) {
    const tile = this.#tiles[index];
    if (tile === undefined) return;
    const { image, partial } = tile;
    partial.src = url;
    await partial.decode();
    partial.hidden = image.dataset["done"] === "true";
  }

  /** Number of the step on display; undefined for the last one. */
  get replayedStep() {
    return this.#steps[this.#replayed - 1]?.step;
  }

  /** @param {string} text */
  say(text) {
    progressText.textContent = text;
  }

  /** Announces to screen readers. @param {string} text */
  announce(text) {
    announcer.textContent = text;
  }

  /** @param {string} text */
  finish(text) {
    progress.value = progress.max;
    progress.hidden = true;
    this.say(text);
    this.announce(text);
  }

  /** @param {number} index @param {number} count */
  #newTile(index, count) {
    if (index === 0) tiles.replaceChildren();
    progress.hidden = false;
    const canvas = make("canvas", { role: "img", width: 1, height: 1 });
    const image = make("img", {
      alt: count === 1 ? this.#prompt : `${this.#prompt}, ${index + 1} of ${count}`,
      hidden: true,
    });
    const partial = make("img", { alt: "", class: "partial", hidden: true });
    // It only covers a part of the image, whose text says enough.
    const before = make("canvas", { class: "before", "aria-hidden": "true", hidden: true });
    if (this.#before !== undefined) {
      before.width = this.#before.width;
      before.height = this.#before.height;
      before.getContext("2d")?.drawImage(this.#before, 0, 0);
    }
    const caption = make("span");
    const link = make("a", { download: "", hidden: true }, "Download");
    link.setAttribute("aria-label", `Download image ${index + 1}`);
    tiles.append(
      make(
        "figure",
        {},
        make("div", { class: "frame" }, canvas, partial, image, before),
        make("figcaption", {}, caption, link),
      ),
    );
    return { canvas, image, partial, before, caption, link };
  }

  #show() {
    const step = this.#steps[(this.#replayed || this.#steps.length) - 1];
    replayValue.value = step === undefined ? "" : `${step.step} / ${step.total}`;
    for (const [i, { canvas, image, before, caption }] of this.#tiles.entries()) {
      const tokens = step?.tokens[i];
      if (tokens !== undefined && this.#palette !== undefined) paint(canvas, tokens, this.#palette);
      const mask = this.#palette?.mask;
      const masked = tokens?.filter((token) => token === mask).length ?? 0;
      const isDone = image.dataset["done"] === "true" && this.#replayed === 0;
      const what = isDone ? "finished" : tokens === undefined ? "waiting" : `${masked} tokens masked`;
      const name = this.#tiles.length === 1 ? "" : `Image ${i + 1}: `;
      caption.textContent = name + what;
      canvas.setAttribute("aria-label", `Tokens of image ${i + 1}: ${what}`);
      image.hidden = !isDone;
      canvas.hidden = isDone;
      before.hidden = !isDone || this.#before === undefined;
      if (!before.hidden) compareField.hidden = false;
    }
  }
}
