// Numbers, times and states as people read them.

import { make } from "../assets/dom.js";

/** @param {number} count @param {string} one @param {string} [many] */
export const counted = (count, one, many = `${one}s`) =>
  `${count.toLocaleString("en")} ${count === 1 ? one : many}`;

/** A duration, such as "80 ms", "2.3 s" or "3 min". @param {number} seconds */
export function duration(seconds) {
  if (seconds < 1) return seconds === 0 ? "0 s" : `${Math.max(1, Math.round(1_000 * seconds))} ms`;
  if (seconds < 10) return `${Number(seconds.toPrecision(2))} s`;
  if (seconds < 100) return `${Math.round(seconds)} s`;
  if (seconds < 5_400) return `${Math.round(seconds / 60)} min`;
  if (seconds < 129_600) return `${Math.round(seconds / 3_600)} h`;
  return `${Math.round(seconds / 86_400)} days`;
}

/** @param {number} ms since then */
export const ago = (ms) => (ms < 2_000 ? "just now" : `${duration(Math.floor(ms / 1_000))} ago`);

const DAY_MS = 86_400_000;
/**
 * A time as a `time` element: the hour of today, the day of others, all of it on hover.
 * @param {string} iso
 */
export function moment(iso) {
  const at = new Date(iso);
  const isRecent = Date.now() - at.getTime() < DAY_MS && at.getDate() === new Date().getDate();
  const text = isRecent
    ? at.toLocaleTimeString([], { hour: "2-digit", minute: "2-digit", second: "2-digit" })
    : at.toLocaleDateString([], { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" });
  return make("time", { datetime: iso, title: at.toLocaleString() }, text);
}

/** @typedef {"good" | "bad" | "busy" | "plain"} Tone */

/** A state, told by its word and a sign as well as by its colour. @param {Tone} tone @param {string} text */
export const badge = (tone, text) => make("span", { class: `badge ${tone}` }, text);

/** How many hubs there are, and how they are. @param {{ total: number, answering: number, cut_off: number }} hubs */
export function hubsOf({ total, answering, cut_off: cutOff }) {
  const lost = cutOff === 0 ? "" : `; ${cutOff} cut off from the queue`;
  return `${answering === total ? `${total}, all answering` : `${answering} of ${total} answer`}${lost}`;
}
