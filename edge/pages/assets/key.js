// The API key: asked for, shown with its owner, and never replaced by a link without a question.

import { VqdError } from "../client/index.js";
import { client, isKeyRemembered, storedKey, storeKey } from "./api.js";
import { byId } from "./dom.js";

const panel = byId("key-panel", HTMLDetailsElement);
const input = byId("key", HTMLInputElement);
const offer = byId("key-offer", HTMLDialogElement);

/** Headers allow nothing else: fetch would throw. */
const KEY = /^[\x21-\x7e]+$/;

/** @param {string} key */
const ending = (key) => `…${key.slice(-4)}`;

/** @type {() => void} */
let entered = () => {};
/**
 * Calls `listener` whenever a key has been entered.
 * @param {() => void} listener
 */
export const onKeyEntered = (listener) => (entered = listener);
/** @type {() => void} */
let forgotten = () => {};
/**
 * Calls `listener` whenever the key has been forgotten.
 * @param {() => void} listener
 */
export const onKeyForgotten = (listener) => (forgotten = listener);

/** @param {string} [reason] */
export function askForKey(reason) {
  const error = byId("key-error", HTMLElement);
  error.textContent = reason ?? "";
  error.hidden = reason === undefined;
  input.toggleAttribute("aria-invalid", false);
  if (reason !== undefined) input.setAttribute("aria-invalid", "true");
  panel.open = true;
  input.focus();
}

/**
 * The name of a key's owner. Throws a VqdError.
 * @param {string} key
 * @returns {Promise<string>}
 */
const ownerOf = async (key) => (await client.request("v1/account", { apiKey: key })).username;

let owner = "";
/** The owner of the key in use; empty until the service has said so, if it does. */
export const currentOwner = () => owner;
let reading = Promise.resolve();
export const ownerRead = () => reading;

/** Closes the form of the key; false if it was not open. */
export function closeKeyPanel() {
  if (!panel.open) return false;
  panel.open = false;
  panel.querySelector("summary")?.focus();
  return true;
}

/** Shows which key is used, and whose it is. */
export function showKeyState() {
  const key = storedKey();
  const state = byId("key-state", HTMLElement);
  state.textContent = key === null ? "API key: none yet" : `API key: ${ending(key)}`;
  byId("key-remember", HTMLInputElement).checked = isKeyRemembered();
  owner = "";
  if (key === null) return;
  reading = showOwner(key, state);
}

/** @param {string} key @param {HTMLElement} state */
async function showOwner(key, state) {
  try {
    const name = await ownerOf(key);
    if (storedKey() !== key) return;
    owner = name;
    state.textContent = `API key: ${ending(key)} of ${name}`;
  } catch (error) {
    // What is wrong with the key is shown where it is used.
    if (!(error instanceof VqdError)) throw error;
  }
}

/**
 * Asks whether to use the key of a link: whoever made the link may have chosen it, to see what is generated with it.
 * @param {string} key
 */
export async function offerKey(key) {
  if (key === storedKey()) return;
  /** @type {string} */
  let name;
  try {
    if (!KEY.test(key)) throw new VqdError("", { status: 401 });
    name = await ownerOf(key);
  } catch (error) {
    if (!(error instanceof VqdError)) throw error;
    return askForKey(error.status === 401 ? "The API key in the link is invalid." : error.message);
  }
  // Another page may change the address while the question is open: what is accepted must be what was read.
  if (offer.open) return;
  const own = storedKey();
  byId("key-offer-text", HTMLElement).textContent =
    `The link contains the API key ${ending(key)} of ${name}. What you generate with it belongs to ${name}, ` +
    "who can see your prompts and images.";
  const current = byId("key-offer-current", HTMLElement);
  current.hidden = own === null;
  current.textContent = own === null ? "" : `It would replace your API key ${ending(own)}.`;
  byId("key-offer-refuse", HTMLButtonElement).textContent = own === null ? "Ignore it" : "Keep my key";
  offer.returnValue = "";
  offer.showModal();
  // The harmless answer is the one at hand if there is something to lose.
  if (own !== null) byId("key-offer-refuse", HTMLButtonElement).focus();
  await new Promise((resolve) => offer.addEventListener("close", resolve, { once: true }));
  if (offer.returnValue !== "use") return;
  storeKey(key, isKeyRemembered());
  showKeyState();
}

byId("key-form", HTMLFormElement).addEventListener("submit", (event) => {
  event.preventDefault();
  const key = input.value.trim();
  if (key === "") return askForKey("Enter a key first.");
  if (!KEY.test(key)) return askForKey("A key has no spaces or non-ASCII characters.");
  storeKey(key, byId("key-remember", HTMLInputElement).checked);
  input.value = "";
  panel.open = false;
  showKeyState();
  entered();
});
byId("key-forget", HTMLButtonElement).addEventListener("click", () => {
  storeKey("", false);
  input.value = "";
  showKeyState();
  forgotten();
});
