// The page's key, and the client that uses it.

import { VqdClient } from "../client/index.js";

const KEY = "vqd.key";

/** @returns {string | null} */
export const storedKey = () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
export const isKeyRemembered = () => localStorage.getItem(KEY) !== null;

/**
 * Stores the key until the tab is closed, or permanently.
 * @param {string} key empty to forget it
 * @param {boolean} remember
 */
export function storeKey(key, remember) {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  if (key !== "") (remember ? localStorage : sessionStorage).setItem(KEY, key);
}

/**
 * A link from a response, resolved against this page, since the service may not know its public origin.
 * @param {string} url
 */
export const local = (url) => url.replace(/^.*?\/v1\//, "v1/");

/** Requests with the stored key, relative to this page. */
export const client = new VqdClient({ baseUrl: new URL(".", document.baseURI).href, apiKey: storedKey });
