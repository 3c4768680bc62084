// The history of this browser: settings, links and thumbnails, kept in local storage.

import { byId, make } from "./dom.js";

const KEY = "vqd.history";
const MAX_ENTRIES = 24;
const THUMBNAIL_PIXELS = 96;

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {string} model
 * @property {import("./settings.js").Settings} settings those that differ from the defaults, and the seed
 * @property {string[]} files
 * @property {string} thumbnail a data URL
 */

/** @returns {Entry[]} */
function read() {
  try {
    const entries = JSON.parse(localStorage.getItem(KEY) ?? "[]");
    return Array.isArray(entries)
      ? entries.filter((entry) => typeof entry?.model === "string" && entry.settings instanceof Object)
      : [];
  } catch {
    return [];
  }
}

/** @param {Entry[]} entries */
function write(entries) {
  for (let kept = entries.slice(0, MAX_ENTRIES); ; kept = kept.slice(0, -1)) {
    try {
      localStorage.setItem(KEY, JSON.stringify(kept));
      return;
    } catch {
      // Over the browser's quota: drop the oldest.
      if (kept.length === 0) return;
    }
  }
}

/** @param {HTMLImageElement} image */
export function thumbnailOf(image) {
  const canvas = make("canvas", { width: THUMBNAIL_PIXELS, height: THUMBNAIL_PIXELS });
  canvas.getContext("2d")?.drawImage(image, 0, 0, THUMBNAIL_PIXELS, THUMBNAIL_PIXELS);
  return canvas.toDataURL("image/webp", 0.8);
}

/**
 * Shows the history and keeps it up to date.
 * @param {(entry: Entry) => void} onChosen
 */
export function createHistory(onChosen) {
  const section = byId("history", HTMLElement);
  const list = byId("history-list", HTMLUListElement);
  const show = () => {
    const entries = read();
    section.hidden = entries.length === 0;
    list.replaceChildren(
      ...entries.map((entry) => {
        const prompt = String(entry.settings["prompt"] ?? entry.model);
        const button = make(
          "button",
          { type: "button" },
          make("img", { src: entry.thumbnail, alt: "" }),
          make("span", {}, prompt),
        );
        button.addEventListener("click", () => onChosen(entry));
        return make("li", {}, button);
      }),
    );
  };
  byId("history-clear", HTMLButtonElement).addEventListener("click", () => {
    localStorage.removeItem(KEY);
    show();
    byId("prompt", HTMLElement).focus();
  });
  // Another tab has added to it.
  addEventListener("storage", show);
  show();
  return {
    /** @param {Entry} entry */
    add(entry) {
      write([entry, ...read().filter(({ id }) => id !== entry.id)]);
      show();
    },
  };
}
