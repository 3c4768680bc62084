// The stage: shows tokens as they are unmasked, finished images, progress, and the replay of the steps.

import { byId } from "../../assets/dom.js";
import { paint } from "../../client/index.js";
import { makeTile } from "./tile.js";

const tiles = byId("images", HTMLElement);
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

/** What it shows: the start, a run, or a grid. */
const VIEWS = ["starter", "run", "sheet"].map((id) => byId(id, HTMLElement));
/** @param {"starter" | "run" | "sheet"} id */
export function reveal(id) {
  for (const view of VIEWS) view.hidden = view.id !== id;
}

/** How often screen readers announce progress: every step would be too much. */
const ANNOUNCED_SHARE = 0.25;

/**
 * @typedef {object} Step
 * @property {number} step
 * @property {number} total
 * @property {number} masked
 * @property {Uint16Array[]} tokens
 */

export class Stage {
  /** @type {import("./tile.js").Tile[]} */
  #tiles = [];
  /** @type {Step[]} */
  #steps = [];
  /** @type {import("../../client/types.d.ts").Palette | undefined} */
  #palette;
  #announced = 0;
  /** The step on display; 0 for the newest. */
  #replayed = 0;
  /** Whether what it shows may be continued from a step: it is the key owner's. */
  #withKey = true;
  /** Whether the images started from a picture that is known. */
  #hasBefore = false;
  /** What is said below finished images. @type {readonly string[]} */
  #captions = [];
  /** @type {(tool: import("./tile.js").Tool, index: number) => void} */
  #onTool;

  /** @param {(tool: import("./tile.js").Tool, index: number) => void} onTool */
  constructor(onTool) {
    this.#onTool = onTool;
    replay.addEventListener("input", () => {
      const step = Number(replay.value);
      this.#replayed = step === this.#steps.length ? 0 : step;
      forkButton.disabled = this.#replayed === 0 || !this.#withKey;
      this.#show();
    });
  }

  /**
   * Clears the stage for another prediction.
   * @param {{ images: number, prompt: string, captions?: readonly string[], before?: HTMLCanvasElement | undefined, withKey: boolean }} options
   */
  start({ images, prompt, captions = [], before, withKey }) {
    this.#captions = captions;
    this.#withKey = withKey;
    this.#hasBefore = before !== undefined;
    setCompared("0");
    compareField.hidden = true;
    this.#steps = [];
    this.#replayed = 0;
    this.#announced = 0;
    const onTool = this.#onTool;
    this.#tiles = Array.from({ length: images }, (_, index) =>
      makeTile({ index, count: images, prompt, before, onTool, withKey }),
    );
    tiles.dataset["count"] = String(images);
    tiles.replaceChildren(...this.#tiles.map(({ figure }) => figure));
    replayField.hidden = true;
    forkButton.disabled = true;
    progress.hidden = false;
    progress.removeAttribute("value");
    this.#show();
  }

  /** @param {number} width @param {number} height */
  setAspect(width, height) {
    tiles.style.setProperty("--aspect", String(width / height));
  }

  /** @param {import("../../client/types.d.ts").Palette | undefined} palette */
  setPalette(palette) {
    this.#palette = palette;
    this.#show();
  }

  /** What a step has come to, for the line that tells the progress. @param {Step} step */
  describe({ step, total, masked, tokens }) {
    const count = tokens.reduce((sum, each) => sum + each.length, 0);
    return `Step ${step} of ${total} · ${count - masked} of ${count} tokens unmasked`;
  }

  /** @param {Step} step */
  addStep(step) {
    // An attempt that starts over replaces the steps of the one before.
    this.#steps.length = Math.min(this.#steps.length, step.step - 1);
    this.#steps.push(step);
    progress.max = step.total;
    progress.value = step.step;
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
    const { image, partial, tools } = tile;
    image.src = url;
    await image.decode();
    image.dataset["done"] = "true";
    partial.hidden = true;
    tools.hidden = false;
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
    progress.hidden = true;
    this.say(text);
    this.announce(text);
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
      caption.textContent = isDone ? (this.#captions[i] ?? "") : name + what;
      canvas.setAttribute("aria-label", `Tokens of image ${i + 1}: ${what}`);
      image.hidden = !isDone;
      canvas.hidden = isDone;
      before.hidden = !isDone || !this.#hasBefore;
      if (!before.hidden) compareField.hidden = false;
    }
  }
}
