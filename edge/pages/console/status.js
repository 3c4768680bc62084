// The status page: what v1/status says, in sentences, read again while somebody looks.

import { VqdError } from "../client/index.js";
import { client } from "../assets/api.js";
import { byId, make } from "../assets/dom.js";
import { patch } from "./patch.js";
import { ago, badge, duration, hubsOf } from "./words.js";

/** @typedef {import("../client/api.d.ts").components["schemas"]["Status"]} Status */

const AGAIN_MS = 15_000;
const TICK_MS = 1_000;

/** @type {Record<Status["status"], string>} */
const TONES = { operational: "good", degraded: "warn", unavailable: "bad" };
/** @type {Record<Status["nats"], string>} */
const QUEUE = {
  connected: "takes jobs",
  unavailable: "can be reached, but takes no jobs",
  unreachable: "cannot be reached",
  unknown: "not known",
};
/** @type {Record<Status["models"][number]["workers"], [import("./words.js").Tone, string]>} */
const WORKERS = {
  alive: ["good", "Served"],
  none: ["bad", "No worker"],
  unknown: ["plain", "Not known"],
};

const verdict = byId("verdict", HTMLElement);
const checked = byId("checked", HTMLElement);
let checkedAt = 0;
/** What is wrong with the answer itself; empty if nothing is. */
let trouble = "";
let isAsking = false;

/** @param {string} headline @param {string} tone */
function tell(headline, tone) {
  const title = byId("headline", HTMLElement);
  // What has not changed is not said again.
  if (title.textContent !== headline && title.textContent !== "Asking the service…")
    byId("announcer", HTMLElement).textContent = headline;
  title.textContent = headline;
  verdict.dataset["tone"] = tone;
  document.title = `${headline} · vqd`;
}

/** @param {Status["models"][number]} model */
function modelRow({ model, version, workers, waiting_at_least: waiting, seconds_per_image: seconds }) {
  return make(
    "li",
    { class: "model" },
    make("h3", {}, model, " ", make("small", { title: version }, version.slice(0, 12))),
    badge(...WORKERS[workers]),
    make("span", {}, seconds === null ? "No recent images" : `About ${duration(seconds)} for an image`),
    make("span", {}, waitingOf(waiting)),
  );
}

/** @param {number} waiting */
function waitingOf(waiting) {
  if (waiting === 0) return "Nothing waits";
  return waiting === 1 ? "A few wait" : `${waiting.toLocaleString("en")} or more wait`;
}

/** What matters most, in a sentence. @param {Status} status */
function headlineOf({ status, nats, models }) {
  if (status === "operational")
    return models.some(({ workers }) => workers === "alive") ? "Everything works" : "No trouble is known";
  if (nats !== "connected") return "No images are made: the queue does not take jobs";
  if (models.length === 0) return "No model is being served";
  if (status === "unavailable") return "No images are made: no worker is there";
  const isMissing = models.some(({ workers }) => workers === "none");
  return isMissing ? "Some models have no worker" : "Some requests are not answered";
}

/** @param {Status} status */
function show(status) {
  tell(headlineOf(status), TONES[status.status]);
  byId("models", HTMLElement).hidden = status.models.length === 0;
  byId("behind", HTMLElement).hidden = false;
  patch(byId("model-list", HTMLElement), status.models.map(modelRow));
  byId("queue", HTMLElement).textContent = QUEUE[status.nats];
  byId("hubs", HTMLElement).textContent = hubsOf(status.hubs);
}

function tick() {
  const when = checkedAt === 0 ? "" : `Checked ${ago(Date.now() - checkedAt)}.`;
  checked.textContent = `${trouble} ${when}`.trim();
}

async function ask() {
  if (isAsking || document.hidden) return;
  isAsking = true;
  try {
    /** @type {Status} */
    const status = await client.request("v1/status", { apiKey: null });
    show(status);
    // By this clock: the service's may be another.
    checkedAt = Date.now();
    trouble = "";
  } catch (error) {
    if (!(error instanceof VqdError)) throw error;
    tell("The service does not answer", "bad");
    trouble = error.status === 0 ? "It is unreachable from here; trying again." : error.message;
  } finally {
    isAsking = false;
    tick();
  }
}

setInterval(() => void ask(), AGAIN_MS);
setInterval(tick, TICK_MS);
document.addEventListener("visibilitychange", () => void ask());
void ask();
