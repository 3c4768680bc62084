// The page's API client: the key, requests, errors and event streams.

const KEY = "vqd.key";

/** Thrown for a response that is not a success. */
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

/**
 * Sends a request with the key. Throws an ApiError.
 * @param {string} path
 * @param {unknown} [body] makes it a POST
 * @param {string | null} [key] instead of the stored one
 * @returns {Promise<any>}
 */
export async function request(path, body, key = storedKey()) {
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
    if (error instanceof TypeError) throw new ApiError(0, "The service is unreachable. Is it running?");
    throw error;
  }
  const answer = await response.json().catch(() => ({}));
  if (response.ok) return answer;
  const detail =
    answer.detail ?? answer.error?.message ?? `the service responded with status ${response.status}`;
  throw new ApiError(response.status, detail, answer.errors, response.headers.get("x-request-id") ?? "");
}

const RECONNECT_MS = 1000;

/**
 * Follows a prediction's event stream to its end, resuming after disconnects. Resolves when it has ended.
 * @param {string} url
 * @param {{
 *   onEvent: (type: string, data: string) => void,
 *   onDisconnect: () => void,
 * }} options
 * @returns {Promise<void>}
 */
export function follow(url, { onEvent, onDisconnect }) {
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
        // The service also sends events of this name; those carry data.
        if (event instanceof MessageEvent) return onEvent("error", event.data);
        onDisconnect();
        // It reconnects automatically, unless the response was not an event stream.
        if (source.readyState === EventSource.CLOSED) setTimeout(open, RECONNECT_MS);
      });
    };
    open();
  });
}
