// The service's API as the page uses it: the key, requests, errors, event streams.

const KEY = "vqd.key";

/** An answer that is no success. */
export class ApiError extends Error {
  /**
   * @param {number} status 0 if the service could not be reached
   * @param {string} message
   * @param {{ path: string, message: string }[]} [errors]
   * @param {string} [requestId]
   */
  constructor(status, message, errors = [], requestId = "") {
    super(message);
    this.status = status;
    this.errors = errors;
    this.requestId = requestId;
  }
}

/** @returns {string | null} */
export const storedKey = () => sessionStorage.getItem(KEY) ?? localStorage.getItem(KEY);
export const isKeyRemembered = () => localStorage.getItem(KEY) !== null;

/**
 * Keeps the key until the tab closes, or for good.
 * @param {string} key empty: forget it
 * @param {boolean} remember
 */
export function storeKey(key, remember) {
  sessionStorage.removeItem(KEY);
  localStorage.removeItem(KEY);
  if (key !== "") (remember ? localStorage : sessionStorage).setItem(KEY, key);
}

/**
 * A link of an answer as this page reaches it, whatever origin the service believes to have.
 * @param {string} url
 */
export const local = (url) => url.replace(/^.*?\/v1\//, "v1/");

/**
 * Sends a request with the key. Throws an ApiError.
 * @param {string} path
 * @param {unknown} [body] makes it a POST
 * @returns {Promise<any>}
 */
export async function request(path, body) {
  const key = storedKey();
  /** @type {Response} */
  let response;
  try {
    response = await fetch(path, {
      method: body === undefined ? "GET" : "POST",
      headers: {
        ...(key === null ? {} : { authorization: `Bearer ${key}` }),
        ...(body === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(body === undefined ? {} : { body: JSON.stringify(body) }),
    });
  } catch (error) {
    if (error instanceof TypeError) throw new ApiError(0, "The service cannot be reached. Is it running?");
    throw error;
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const detail = answer.detail ?? answer.error?.message ?? `the service answered ${response.status}`;
  throw new ApiError(response.status, detail, answer.errors, response.headers.get("x-request-id") ?? "");
}

const RECONNECT_MS = 1000;

/**
 * Follows a prediction's stream to its end; goes on after a cut where it was. Resolves when it is over.
 * @param {string} url
 * @param {{
 *   onEvent: (type: string, data: string) => void,
 *   onCut: () => void,
 * }} options
 * @returns {Promise<void>}
 */
export function follow(url, { onEvent, onCut }) {
  return new Promise((resolve) => {
    let lastId = "";
    /** @type {EventSource} */
    let source;
    const end = () => {
      source.close();
      resolve();
    };
    const open = () => {
      source = new EventSource(lastId === "" ? url : `${url}?last_event_id=${lastId}`);
      for (const type of ["started", "step", "preview", "output", "logs", "done"]) {
        source.addEventListener(type, (event) => {
          lastId = event.lastEventId;
          onEvent(type, event.data);
          if (type === "done") end();
        });
      }
      source.addEventListener("error", (event) => {
        // The service has events of this name, too; those carry data.
        if (event instanceof MessageEvent) return onEvent("error", event.data);
        onCut();
        // It comes back by itself, unless the answer was no stream.
        if (source.readyState === EventSource.CLOSED) setTimeout(open, RECONNECT_MS);
      });
    };
    open();
  });
}
