// One image on the stage: its tokens, its previews, the file, and what can be done with it.

import { make } from "../../assets/dom.js";

/** What can be done with an image, with a button's text and its description. */
const TOOLS = /** @type {const} */ ({
  open: ["Open", "Open large"],
  copy: ["Copy", "Copy the image"],
  save: ["Save", "Save the image"],
  seed: ["Seed", "Use this seed"],
  vary: ["Vary", "Vary this image"],
  edit: ["Edit", "Edit this image"],
  compare: ["Compare", "Compare with another image"],
});
/** @typedef {keyof typeof TOOLS} Tool */

/** @typedef {{ figure: HTMLElement, canvas: HTMLCanvasElement, image: HTMLImageElement, partial: HTMLImageElement, before: HTMLCanvasElement, caption: HTMLElement, tools: HTMLElement }} Tile */

/**
 * @param {{ index: number, count: number, prompt: string, before?: HTMLCanvasElement | undefined, onTool: (tool: Tool, index: number) => void, withKey: boolean }} options
 * @returns {Tile}
 */
export function makeTile({ index, count, prompt, before: start, onTool, withKey }) {
  const which = count === 1 ? "" : `, ${index + 1} of ${count}`;
  const canvas = make("canvas", { role: "img", width: 1, height: 1 });
  const image = make("img", { alt: prompt + which, hidden: true });
  const partial = make("img", { alt: "", class: "partial", hidden: true });
  // It only covers a part of the image, whose text says enough.
  const before = make("canvas", { class: "before", "aria-hidden": "true", hidden: true });
  if (start !== undefined) {
    before.width = start.width;
    before.height = start.height;
    before.getContext("2d")?.drawImage(start, 0, 0);
  }
  const caption = make("span");
  const buttons = Object.entries(TOOLS).flatMap(([name, [text, title]]) => {
    // Without a key nothing can be made.
    if (!withKey && ["vary", "edit"].includes(name)) return [];
    const button = make("button", { type: "button", title, "aria-label": `${title}${which}` }, text);
    button.dataset["tool"] = name;
    button.addEventListener("click", () => onTool(/** @type {Tool} */ (name), index));
    return [button];
  });
  const tools = make("div", { class: "tools", hidden: true }, ...buttons);
  const frame = make("div", { class: "frame" }, canvas, partial, image, before);
  const figure = make("figure", {}, frame, tools, make("figcaption", {}, caption));
  return { figure, canvas, image, partial, before, caption, tools };
}
