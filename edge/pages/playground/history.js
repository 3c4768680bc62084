// The history: the service's list of the owner's runs, with what this browser has kept of them.

import { VqdError } from "../client/index.js";
import { client, local, storedKey } from "../assets/api.js";
import { byId, make } from "../assets/dom.js";
import { currentOwner, ownerRead } from "../assets/key.js";
import { FINAL } from "./follow.js";
import { shortest } from "./form/settings.js";
import { offerUndo } from "./undo.js";

const KEY = "vqd.history";
const MAX_ENTRIES = 60;
const PAGE = 24;
const THUMBNAIL_PIXELS = 96;
/** How often the list is read again while something in it has not ended. */
const AGAIN_MS = 6_000;

/**
 * @typedef {object} Entry
 * @property {string} id
 * @property {string} [owner]
 * @property {string} model
 * @property {import("./form/fields.js").Settings} settings those that differ from the defaults, and the seed
 * @property {string} thumbnail a data URL
 */
/** @typedef {{ id: string, prompt: string, picture: string, status: string }} Item */

const section = byId("history", HTMLElement);
const list = byId("history-list", HTMLUListElement);
const more = byId("history-more", HTMLButtonElement);

/** @type {import("../client/types.d.ts").Prediction[]} */
let listed = [];
/** @type {string | null} */
let next = null;
/** What has been deleted, for good once nobody has undone it. @type {Set<string>} */
const deleted = new Set();
let current = "";
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

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

/** What this browser has kept of a run. @param {string} id */
export const keptOf = (id) => read().find((entry) => entry.id === id);

/** Keeps a thumbnail, which outlives the image. @param {import("../client/types.d.ts").Prediction} run @param {HTMLImageElement} image */
export function keep({ id, model, input }, image) {
  const canvas = make("canvas", { width: THUMBNAIL_PIXELS, height: THUMBNAIL_PIXELS });
  canvas.getContext("2d")?.drawImage(image, 0, 0, THUMBNAIL_PIXELS, THUMBNAIL_PIXELS);
  const thumbnail = canvas.toDataURL("image/webp", 0.8);
  const settings = shortest(/** @type {any} */ (input));
  write([
    { id, owner: currentOwner(), model, settings, thumbnail },
    ...read().filter((entry) => entry.id !== id),
  ]);
  show();
}

/** Of the service's list and of this browser's, newest first. @returns {Item[]} */
function items() {
  const own = read().filter(({ owner }) => owner === undefined || owner === currentOwner());
  const known = new Map(own.map((entry) => [entry.id, entry]));
  const fromService = listed.map(({ id, model, input, output, status }) => ({
    id,
    prompt: String(input.prompt ?? model),
    picture: known.get(id)?.thumbnail ?? (output?.[0] === undefined ? "" : local(output[0])),
    status,
  }));
  const ids = new Set(fromService.map(({ id }) => id));
  const kept = own
    .filter(({ id }) => !ids.has(id))
    .map(({ id, model, settings, thumbnail }) => ({
      id,
      prompt: String(settings["prompt"] ?? model),
      picture: thumbnail,
      status: "succeeded",
    }));
  return [...fromService, ...kept].filter(({ id }) => !deleted.has(id));
}

/** @param {Item} item */
function itemOf({ id, prompt, picture, status }) {
  const isBare = picture === "";
  const label = FINAL.includes(status) ? (status === "succeeded" ? "" : status) : "running";
  const remove = make(
    "button",
    { type: "button", class: "quiet remove", "aria-label": `Delete “${prompt}”`, title: "Delete" },
    "✕",
  );
  remove.addEventListener("click", () => removeAll([id], `“${prompt}” is deleted.`));
  const image = isBare
    ? make("span", { class: "no-picture", "aria-hidden": "true" })
    : make("img", { src: picture, alt: "", loading: "lazy" });
  // It may have expired.
  image.addEventListener("error", () => image.replaceWith(make("span", { class: "no-picture" })));
  return make(
    "li",
    {},
    make(
      "a",
      { href: `#run=${encodeURIComponent(id)}`, ...(id === current ? { "aria-current": "true" } : {}) },
      image,
      make("span", { class: "prompt" }, prompt),
      label === "" ? undefined : make("small", {}, label),
    ),
    remove,
  );
}

function show() {
  const all = items();
  section.hidden = all.length === 0;
  more.hidden = next === null;
  list.replaceChildren(...all.map(itemOf));
}

/** Marks the run that is on the stage. @param {string} id */
export function markCurrent(id) {
  current = id;
  show();
}

/** Reads the newest page of the service's list again; what was read of older ones stays. */
export async function refreshHistory() {
  clearTimeout(timer);
  if (storedKey() === null) [listed, next] = [[], null];
  else {
    const [page] = await Promise.all([readPage(`v1/predictions?limit=${PAGE}`), ownerRead()]);
    const last = page.results.at(-1)?.created_at ?? "";
    const older = listed.filter(({ created_at: at }) => (at ?? "") < last);
    listed = [...page.results, ...older];
    if (older.length === 0) next = page.next;
  }
  show();
  // The one on the stage tells by itself when it has ended.
  const isAwaited = listed.some(({ id, status }) => id !== current && !FINAL.includes(status));
  if (isAwaited) timer = setTimeout(() => void refreshHistory(), AGAIN_MS);
}

/**
 * @param {string} link
 * @returns {Promise<{ results: import("../client/types.d.ts").Prediction[], next: string | null }>}
 */
async function readPage(link) {
  try {
    return await client.request(link);
  } catch (error) {
    // A key that may not read has what this browser has kept; what else is wrong shows elsewhere.
    if (!(error instanceof VqdError)) throw error;
    return { results: [], next: null };
  }
}
async function readOlder() {
  if (next === null) return;
  const page = await readPage(next);
  listed = [...listed, ...page.results];
  next = page.next;
  show();
}
more.addEventListener("click", () => void readOlder());

/** Deletes runs, unless that is undone. @param {string[]} ids @param {string} text */
function removeAll(ids, text) {
  for (const id of ids) deleted.add(id);
  show();
  if (ids.includes(current)) location.hash = "";
  byId("prompt", HTMLElement).focus();
  const key = storedKey();
  offerUndo(text, {
    undo: () => {
      for (const id of ids) deleted.delete(id);
      show();
    },
    // The page may be about to close, which must not stop it.
    commit: () => {
      write(read().filter(({ id }) => !ids.includes(id)));
      listed = listed.filter(({ id }) => !ids.includes(id));
      for (const id of ids) {
        const path = client.url(`v1/predictions/${encodeURIComponent(id)}`);
        const headers = { authorization: `Bearer ${key ?? ""}` };
        // One that has expired, or is another owner's, was only in this browser.
        fetch(path, { method: "DELETE", headers, keepalive: true }).catch(() => {});
      }
    },
  });
}
byId("history-clear", HTMLButtonElement).addEventListener("click", () => {
  const ids = items().map(({ id }) => id);
  removeAll(ids, ids.length === 1 ? "One run is deleted." : `${ids.length} runs are deleted.`);
});
// Another tab has added to it.
addEventListener("storage", show);
