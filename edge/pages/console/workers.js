// The tab of workers and the queue: of each version who works, what waits, and how fast; read again while somebody looks.

import { VqdError } from "../client/index.js";
import { client } from "../assets/api.js";
import { make } from "../assets/dom.js";
import { patch } from "./patch.js";
import { blank, commandBox, failure, lacking, loading, may } from "./states.js";
import { ago, badge, counted, duration, hubsOf } from "./words.js";

/** @typedef {import("../client/api.d.ts").components["schemas"]["Queue"]} Queue */

const AGAIN_MS = 5_000;

/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
let turn = 0;

/** @type {Record<Queue["data"][number]["workers"], [import("./words.js").Tone, string]>} */
const WORKERS = {
  alive: ["good", "Workers alive"],
  none: ["bad", "No worker"],
  unknown: ["plain", "Not known"],
};
/** @type {Record<Queue["nats"], string>} */
const NATS = {
  connected: "connected",
  unavailable: "connected, but its streams do not answer",
  unreachable: "unreachable",
  unknown: "not known",
};

/** @param {string} term @param {string} value */
const fact = (term, value) => make("div", {}, make("dt", {}, term), make("dd", {}, value));

/** @param {Queue["data"][number]} version @param {number} now when the service looked */
function versionCard(version, now) {
  const { model, version: hash, share, workers, workers_with_room: room, running, waiting } = version;
  const { last_heard_at: heard, seconds_per_image: image, seconds_per_image_step: step, slots } = version;
  const waits = waiting.high + waiting.normal + waiting.low;
  return make(
    "li",
    { class: "version" },
    make(
      "div",
      { class: "label-row" },
      make("h3", {}, model, " ", make("small", { title: hash }, hash.slice(0, 12))),
      badge(...WORKERS[workers]),
    ),
    make(
      "dl",
      { class: "facts" },
      fact("Share of requests", share === 0 ? "none" : `${Math.round(100 * share)} %`),
      fact("Workers with room", room === null ? "not known" : room.toLocaleString("en")),
      fact("Last word of a worker", heard === null ? "none yet" : ago(now - Date.parse(heard))),
      fact("Running", counted(running, "run")),
      fact("Waiting", waits === 0 ? "none" : `${waits.toLocaleString("en")}: ${byPriority(waiting)}`),
      fact("Pace", step === null ? "no recent runs" : `${Math.round(1_000 * step)} ms a step of an image`),
      fact("A default image", image === null ? "no recent runs" : `about ${duration(image)}`),
      ...(slots === null ? [] : [fact("Images at once", slots.toLocaleString("en"))]),
    ),
  );
}

/** @param {Queue["data"][number]["waiting"]} waiting */
const byPriority = (waiting) =>
  Object.entries(waiting)
    .filter(([, count]) => count > 0)
    .map(([priority, count]) => `${count.toLocaleString("en")} ${priority}`)
    .join(", ");

const none = () => blank("No model is announced", "A worker announces its model when it starts.");

/** @param {HTMLElement} panel @param {import("./states.js").Account} account */
function show(panel, account) {
  if (!may(account, "metrics")) return panel.replaceChildren(lacking(account, "metrics", "h2"));
  const content = make("div", {}, loading("Asking the hubs…"));
  panel.replaceChildren(
    make(
      "section",
      { class: "card", "aria-labelledby": "workers-title" },
      make("h2", { id: "workers-title" }, "Workers and queue"),
      content,
    ),
    make(
      "section",
      { class: "card", "aria-labelledby": "names-title" },
      make("h2", { id: "names-title" }, "Each worker"),
      make(
        "p",
        {},
        "Only the workers know their names, slots, failures and uptime. Where the service runs, this asks them:",
      ),
      commandBox("npm run vqd -- workers"),
    ),
  );

  const read = async () => {
    const own = ++turn;
    clearTimeout(timer);
    try {
      /** @type {Queue} */
      const { data, nats, hubs, checked_at: checked } = await client.request("v1/queue");
      if (own !== turn) return;
      const facts = make("dl", { class: "facts" }, fact("NATS", NATS[nats]), fact("Hubs", hubsOf(hubs)));
      const versions = data.map((version) => versionCard(version, Date.parse(checked)));
      patch(content, [facts, data.length === 0 ? none() : make("ul", { class: "rows" }, ...versions)]);
    } catch (error) {
      if (own !== turn) return;
      if (!(error instanceof VqdError)) throw error;
      content.replaceChildren(failure(error, () => void read()));
      return;
    }
    timer = setTimeout(again, AGAIN_MS);
  };
  const again = () => (document.hidden ? (timer = setTimeout(again, AGAIN_MS)) : void read());
  void read();
}

export const workersTab = {
  show,
  hide() {
    turn++;
    clearTimeout(timer);
  },
};
