// The tab of runs: a page of the owner's predictions, each of which opens, read again while one of them goes on; filtered, if wanted.

import { VqdError } from "../client/index.js";
import { client } from "../assets/api.js";
import { make } from "../assets/dom.js";
import { createFilters } from "./filters.js";
import { createRun } from "./run.js";
import { announce, blank, failure, lacking, loading, may } from "./states.js";
import { counted } from "./words.js";

const PAGE = 20;
const AGAIN_MS = 4_000;

/** @typedef {import("../client/types.d.ts").Prediction} Prediction */

let link = "";
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;
/** Of the page on display, by id. @type {Map<string, ReturnType<typeof createRun>>} */
let rows = new Map();
/** Counts what is shown, so that an answer that comes late is not. */
let turn = 0;
/** Stops what the filters would do by themselves. */
let stopFilters = () => {};

/** @param {HTMLElement} panel @param {import("./states.js").Account} account */
function show(panel, account) {
  if (!may(account, "read")) return panel.replaceChildren(lacking(account, "read", "h2"));
  rows = new Map();
  const filters = createFilters(() => {
    restart();
    void read(true);
  });
  stopFilters = filters.stop;
  const restart = () => {
    link = `v1/predictions?${new URLSearchParams([["limit", `${PAGE}`], ...filters.query()]).toString()}`;
  };
  restart();

  const refresh = make("button", { type: "button", class: "quiet" }, "Refresh");
  const [newer, older] = ["Newer", "Older"].map((label) => make("button", { type: "button" }, label));
  if (newer === undefined || older === undefined) return;
  const pages = make("nav", { class: "row", "aria-label": "Pages of runs", hidden: true }, newer, older);
  const list = make("ul", { class: "rows runs" });
  const content = make("div", {}, loading("Loading runs…"));
  panel.replaceChildren(
    make(
      "section",
      { class: "card", "aria-labelledby": "runs-title" },
      make("div", { class: "label-row" }, make("h2", { id: "runs-title" }, "Runs"), refresh),
      filters.form,
      content,
      pages,
    ),
  );

  /** Links to the pages beside this one. @type {{ previous: string | null, next: string | null }} */
  let around = { previous: null, next: null };
  /** @param {{ results: Prediction[], previous: string | null, next: string | null }} page */
  const fill = ({ results, previous, next }) => {
    pages.hidden = previous === null && next === null;
    newer.disabled = previous === null;
    older.disabled = next === null;
    around = { previous, next };
    if (results.length === 0) {
      rows = new Map();
      content.replaceChildren(filters.query().size > 0 ? noneMatch(next !== null) : noneYet());
      return;
    }
    filters.offer(results.map(({ model }) => model));
    const known = [...rows.keys()].join();
    for (const run of results) rows.get(run.id)?.update(run);
    rows = new Map(
      results.map((run) => [run.id, rows.get(run.id) ?? createRun(run, account, () => void read())]),
    );
    // Rows that stay where they are keep the focus.
    if ([...rows.keys()].join() !== known || !list.isConnected)
      list.replaceChildren(...[...rows.values()].map(({ element }) => element));
    if (!list.isConnected) content.replaceChildren(list);
  };

  const read = async (isNew = false) => {
    const own = ++turn;
    clearTimeout(timer);
    try {
      const page = await client.request(link);
      if (own !== turn) return;
      fill(page);
      if (isNew) announce(rows.size === 0 ? "No runs match." : `${counted(rows.size, "run")} shown.`);
    } catch (error) {
      if (own !== turn) return;
      if (!(error instanceof VqdError)) throw error;
      rows = new Map();
      content.replaceChildren(failure(error, () => void read()));
      return;
    }
    if ([...rows.values()].some((row) => row.isLive)) timer = setTimeout(again, AGAIN_MS);
  };
  // Nobody looks at a page that is hidden.
  const again = () => (document.hidden ? (timer = setTimeout(again, AGAIN_MS)) : void read());
  /** @param {string | null} to */
  const turnTo = async (to) => {
    if (to === null) return;
    link = to;
    await read();
    panel.querySelector("summary")?.focus();
  };
  newer.addEventListener("click", () => void turnTo(around.previous));
  older.addEventListener("click", () => void turnTo(around.next));
  refresh.addEventListener("click", () => void read());
  void read();
}

/** @param {boolean} hasMore */
const noneMatch = (hasMore) =>
  blank("No runs match", hasMore ? "“Older” looks further back." : "Without filters, all are listed.");
const noneYet = () =>
  blank(
    "No runs yet",
    "Make a picture in the ",
    make("a", { href: "./" }, "playground"),
    ", or with the API.",
  );

export const runsTab = {
  show,
  hide() {
    turn++;
    stopFilters();
    clearTimeout(timer);
  },
};
