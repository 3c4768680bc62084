// The client: requests with the key, and predictions.

import { errorOf, VqdError } from "./error.js";
import { follow } from "./events.js";
import { paletteFrom } from "./pixels.js";

/** @typedef {import("./types.d.ts").Prediction} Prediction */
/** @typedef {import("./types.d.ts").RequestOptions} RequestOptions */

export class VqdClient {
  /** @type {string} ends with a slash */
  #baseUrl;
  /** @type {() => string | null} */
  #apiKey;
  /** @type {typeof fetch} */
  #fetch;

  /** @param {import("./types.d.ts").ClientOptions} options */
  constructor({ baseUrl, apiKey = null, fetch: send = (url, init) => fetch(url, init) }) {
    this.#baseUrl = `${baseUrl.replace(/\/+$/, "")}/`;
    this.#apiKey = typeof apiKey === "function" ? apiKey : () => apiKey;
    this.#fetch = send;
  }

  /**
   * The URL of a path (`v1/models`) or of a link in an answer, in which the service may not know its public origin.
   * @param {string} link
   */
  url(link) {
    const path = link.replace(/^(?:[a-z]+:\/\/[^/]*)?.*?\/?(?=v1\/)/i, "");
    return this.#baseUrl + path;
  }

  /**
   * A response that is a success. Throws a VqdError for others, and where there is none.
   * @param {string} link
   * @param {RequestOptions} [options]
   * @returns {Promise<Response>}
   */
  async fetch(
    link,
    { body, method = body === undefined ? "GET" : "POST", headers = {}, signal, apiKey } = {},
  ) {
    const key = apiKey === undefined ? this.#apiKey() : apiKey;
    /** @type {Response} */
    let response;
    try {
      response = await this.#fetch(this.url(link), {
        method,
        headers: {
          ...(key === null ? {} : { authorization: `Bearer ${key}` }),
          ...(body === undefined ? {} : { "content-type": "application/json" }),
          ...headers,
        },
        ...(body === undefined ? {} : { body: JSON.stringify(body) }),
        ...(signal === undefined ? {} : { signal }),
      });
    } catch (error) {
      signal?.throwIfAborted();
      if (!(error instanceof TypeError)) throw error;
      throw new VqdError("The service is unreachable. Is it running?", { status: 0 });
    }
    if (!response.ok) throw await errorOf(response);
    return response;
  }

  /**
   * The JSON of an answer. Throws a VqdError.
   * @param {string} link
   * @param {RequestOptions} [options]
   * @returns {Promise<any>}
   */
  async request(link, options) {
    return (await this.fetch(link, options)).json();
  }

  /** @returns {Promise<import("./types.d.ts").Model[]>} */
  async models() {
    return (await this.request("v1/models")).data;
  }

  /**
   * Creates a prediction. Throws a VqdError, which names the fields that are wrong.
   * @param {import("./types.d.ts").Input} input
   * @param {import("./types.d.ts").CreateOptions} [options]
   * @returns {Promise<Prediction>}
   */
  create(input, { idempotencyKey, signal, ...rest } = {}) {
    return this.request("v1/predictions", {
      body: { ...rest, input },
      ...(idempotencyKey === undefined ? {} : { headers: { "idempotency-key": idempotencyKey } }),
      ...(signal === undefined ? {} : { signal }),
    });
  }

  /** @param {string} id @returns {Promise<Prediction>} */
  get(id) {
    return this.request(`v1/predictions/${encodeURIComponent(id)}`);
  }

  /** @param {string} id @returns {Promise<Prediction>} */
  cancel(id) {
    return this.request(`v1/predictions/${encodeURIComponent(id)}/cancel`, { method: "POST" });
  }

  /** @param {string} id */
  async delete(id) {
    await this.fetch(`v1/predictions/${encodeURIComponent(id)}`, { method: "DELETE" });
  }

  /**
   * Follows a prediction, with the tokens of every step, to its end. A connection that is lost is opened again, and no event is
   * lost or repeated.
   * @param {{ readonly id: string }} prediction
   * @param {import("./types.d.ts").EventsOptions} [options]
   * @returns {AsyncGenerator<import("./types.d.ts").PredictionEvent, void, void>}
   */
  events({ id }, options = {}) {
    const { signal } = options;
    const path = `v1/predictions/${encodeURIComponent(id)}/events`;
    const open = (/** @type {number} */ after) =>
      this.fetch(after === 0 ? path : `${path}?last_event_id=${after}`, {
        headers: { accept: "text/event-stream" },
        ...(signal === undefined ? {} : { signal }),
      });
    return follow(open, options);
  }

  /**
   * The colours of the tokens of a model's version.
   * @param {string} model `owner/name`
   * @param {string} version
   * @returns {Promise<import("./types.d.ts").Palette>}
   */
  async palette(model, version) {
    return paletteFrom(await this.request(`v1/models/${model}:${version}/palette`));
  }
}
