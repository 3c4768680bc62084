// The answer to a request that was tried: its status, time and headers, its body as what it is; and what it names that other
// operations take in their paths.

import { local } from "../assets/api.js";
import { make, sentence } from "../assets/dom.js";
import { messagesOf } from "../client/sse.js";
import { codeBox, coloured, scrolled } from "./document.js";

/** @typedef {import("./document.js").Entry} Entry */

/** Values by the path up to the parameter, such as `/v1/predictions/{id}`. @type {Map<string, string>} */
const known = new Map();
/** @type {Set<() => void>} */
const listeners = new Set();

/** Calls `listener` when something has been learned. @param {() => void} listener */
export const onLearned = (listener) => void listeners.add(listener);

/** @param {string} path @param {string} name of a parameter in it */
const upTo = (path, name) => path.slice(0, path.indexOf(`{${name}}`) + name.length + 2);

/** The last value of a parameter that an answer had; undefined if there was none. @param {string} path @param {string} name */
export const recall = (path, name) => known.get(upTo(path, name));

/** @param {unknown} value @returns {Generator<string>} */
function* linksOf(value) {
  if (typeof value === "string" && /^https?:/.test(value) && URL.canParse(value)) yield value;
  if (typeof value !== "object" || value === null) return;
  for (const inner of Object.values(value)) yield* linksOf(inner);
}

/** Learns from the links in an answer. @param {unknown} answer @param {Entry[]} entries */
function learn(answer, entries) {
  const paths = entries.map(({ path }) => path).filter((path) => path.includes("{"));
  for (const link of linksOf(answer)) {
    const given = new URL(link).pathname.replace(/^.*?(?=\/v1\/)/, "");
    for (const path of paths) {
      const names = [...path.matchAll(/\{(\w+)\}/g)].map(([, name = ""]) => name);
      const values = new RegExp(`^${path.replaceAll(".", "\\.").replaceAll(/\{\w+\}/g, "([^/]+)")}$`).exec(
        given,
      );
      for (const [i, name] of names.entries()) {
        const value = values?.[i + 1];
        if (value !== undefined && !value.includes("%")) known.set(upTo(path, name), value);
      }
    }
  }
  for (const listener of listeners) listener();
}

/** Headers that protect browsers, which say nothing of the request. */
const UNSHOWN =
  /^(?:access-control|cache-control|content-security|cross-origin|permissions|referrer|vary|x-content-type)/;
/** Of what is shown; what is copied is whole. */
const MOST_CHARACTERS = 30_000;
const MOST_OF_A_STRING = 300;
const MOST_EVENTS = 200;
const MOST_PICTURES = 10;

/** @param {number} since */
const secondsSince = (since) => {
  const ms = performance.now() - since;
  return ms < 1_000 ? `${Math.round(ms)} ms` : `${(ms / 1_000).toFixed(1)} s`;
};

/** Long strings are cut. @param {string} _ @param {unknown} value */
const cut = (_, value) =>
  typeof value === "string" && value.length > MOST_OF_A_STRING
    ? `${value.slice(0, 80)}… (${value.length} characters)`
    : value;

/** @param {string} text */
function parsed(text) {
  try {
    return JSON.parse(text);
  } catch {
    return undefined;
  }
}

/** The images in an answer: links to files, and what is in base64. @param {any} value @returns {Generator<string>} */
function* imagesOf(value) {
  if (typeof value === "string" && /^\S+\/v1\/(?:files|shared)\/\S+\.(?:png|jpg|webp)$/.test(value))
    yield local(value);
  if (typeof value !== "object" || value === null) return;
  for (const [name, inner] of Object.entries(value)) {
    if (name === "b64_json") yield `data:image/${value.output_format ?? "png"};base64,${inner}`;
    else yield* imagesOf(inner);
  }
}

/** @param {Blob} blob @returns {Promise<string>} */
const dataUrl = (blob) =>
  new Promise((resolve, reject) => {
    const reader = new FileReader();
    reader.addEventListener("load", () => resolve(/** @type {string} */ (reader.result)));
    reader.addEventListener("error", () => reject(reader.error));
    reader.readAsDataURL(blob);
  });

/** What went wrong, in any of the three formats of errors. @param {any} body */
const reasonOf = (body) => body?.detail ?? body?.error?.message ?? body?.error;

/** @param {Entry[]} entries all of the document */
export function createAnswer(entries) {
  const outcome = make("p", { class: "outcome", role: "status" });
  const trouble = make("div", { class: "alert", role: "alert", hidden: true });
  const pictures = make("div", { class: "pictures" });
  const label = make("span");
  const pre = scrolled("Body of the answer");
  const code = codeBox(label, pre, () => whole);
  const headers = make("dl", { class: "headers" });
  const headersFold = make(
    "details",
    { class: "inner", hidden: true },
    make("summary", {}, "Headers"),
    headers,
  );
  const element = make("div", { class: "answer" }, outcome, trouble, pictures, code, headersFold);
  let whole = "";

  /** @param {Iterable<string>} urls */
  const showPictures = (urls) => {
    pictures.replaceChildren(
      ...[...new Set(urls)]
        .slice(-MOST_PICTURES)
        .map((src, i) => make("img", { src, alt: `Image ${i + 1} of the answer` })),
    );
  };
  /** @param {string} text @param {string} title */
  const showText = (text, title) => {
    label.textContent = title;
    const rest = text.length - MOST_CHARACTERS;
    pre.replaceChildren(coloured(rest > 0 ? text.slice(0, MOST_CHARACTERS) : text));
    if (rest > 0) pre.append(`\n… and ${rest.toLocaleString("en")} more characters`);
    code.hidden = text === "";
  };
  /** @param {string} reason @param {{ path: string, message: string }[]} [errors] @param {string | null} [retryAfter] */
  const showTrouble = (reason, errors = [], retryAfter = null) => {
    const wait = retryAfter === null ? "" : `Try again in ${retryAfter} s.`;
    const text = `${sentence(reason)} ${wait}`;
    const fields = errors.map(({ path, message }) => make("li", {}, make("code", {}, path), ` ${message}`));
    trouble.replaceChildren(fields.length === 0 ? make("p", {}, text) : make("ul", {}, ...fields));
    trouble.hidden = false;
  };

  /** @param {Response} response @param {string} status @param {number} sentAt */
  async function showStream(response, status, sentAt) {
    if (response.body === null) return;
    outcome.textContent = `${status}, events as they come`;
    pre.replaceChildren();
    code.hidden = false;
    let count = 0;
    try {
      for await (const { type, data } of messagesOf(response.body)) {
        whole += `event: ${type}\ndata: ${data}\n\n`;
        const json = parsed(data);
        const shown = json === undefined ? data : JSON.stringify(json, cut);
        const isAtEnd = pre.scrollTop + pre.clientHeight > pre.scrollHeight - 8;
        pre.append(make("div", {}, make("b", {}, type), ` ${shown}`));
        if (pre.childElementCount > MOST_EVENTS) pre.firstElementChild?.remove();
        if (isAtEnd) pre.scrollTop = pre.scrollHeight;
        label.textContent = `${++count} event${count === 1 ? "" : "s"}`;
        const found = [...imagesOf(type === "output" && json === undefined ? data : json)];
        if (found.length > 0)
          showPictures([...[...pictures.querySelectorAll("img")].map(({ src }) => src), ...found]);
      }
    } finally {
      outcome.textContent = `${status} · ${secondsSince(sentAt)}`;
    }
  }

  /** @param {Response} response @param {number} sentAt */
  async function show(response, sentAt) {
    const [type = ""] = (response.headers.get("content-type") ?? "").split(";");
    const status = `${response.status} ${response.statusText}`.trim();
    outcome.dataset["kind"] = response.ok ? "good" : "bad";
    outcome.textContent = `${status} · ${secondsSince(sentAt)}`;
    headers.replaceChildren(
      ...[...response.headers]
        .filter(([name]) => !UNSHOWN.test(name))
        .map(([name, value]) => make("div", {}, make("dt", {}, name), make("dd", {}, value))),
    );
    headersFold.hidden = false;
    if (type === "text/event-stream") return showStream(response, status, sentAt);
    if (/^image\/(?:png|jpeg|webp|gif|avif)$/.test(type)) {
      const blob = await response.blob();
      outcome.textContent = `${status} · ${secondsSince(sentAt)} · ${blob.size.toLocaleString("en")} bytes`;
      return showPictures([await dataUrl(blob)]);
    }
    const text = await response.text();
    outcome.textContent = `${status} · ${secondsSince(sentAt)}`;
    const json = type.endsWith("json") ? parsed(text) : undefined;
    whole = json === undefined ? text : JSON.stringify(json, null, 2);
    showText(json === undefined ? text : JSON.stringify(json, cut, 2), type);
    if (!response.ok) {
      return showTrouble(
        String(reasonOf(json) ?? `the service responded with status ${response.status}`),
        json?.errors,
        response.headers.get("retry-after"),
      );
    }
    showPictures(imagesOf(json));
    learn(json, entries);
  }

  return {
    element,
    /** Sends the request and shows what comes. @param {string} url @param {RequestInit} init */
    async follow(url, init) {
      whole = "";
      pictures.replaceChildren();
      trouble.hidden = code.hidden = headersFold.hidden = true;
      outcome.dataset["kind"] = "busy";
      outcome.textContent = "Sending…";
      const sentAt = performance.now();
      try {
        await show(await fetch(url, init), sentAt);
      } catch (error) {
        if (init.signal?.aborted) {
          outcome.textContent = `Stopped after ${secondsSince(sentAt)}`;
          return;
        }
        if (!(error instanceof TypeError)) throw error;
        outcome.dataset["kind"] = "bad";
        outcome.textContent = `No answer · ${secondsSince(sentAt)}`;
        showTrouble("the service is unreachable, or the connection was lost. Is it running?");
      }
    },
  };
}
