// The tab of usage: totals, a plot by day, and a table, of all keys of the owner.

import { VqdError } from "../client/index.js";
import { client } from "../assets/api.js";
import { make } from "../assets/dom.js";
import { plotOf } from "./plot.js";
import { blank, failure, lacking, loading, may } from "./states.js";
import { duration } from "./words.js";

/** @typedef {import("../client/api.d.ts").components["schemas"]["Usage"]} Usage */
/** @typedef {Usage["data"][number]} Day */
/** @typedef {"images" | "predictions" | "steps" | "gpu_seconds"} Measure */

const DAY_MS = 86_400_000;
const RANGES = [7, 30, 90];

/** @param {number} count */
const number = (count) => count.toLocaleString("en", { maximumFractionDigits: 1 });
/** @type {Record<Measure, { label: string, tell: (value: number) => string }>} */
const MEASURES = {
  images: { label: "Images", tell: number },
  predictions: { label: "Runs", tell: number },
  steps: { label: "Steps", tell: number },
  gpu_seconds: { label: "Workers' time", tell: duration },
};
const NAMES = /** @type {Measure[]} */ (Object.keys(MEASURES));

/** What is looked at, which stays when the tab is left. @type {{ days: number, measure: Measure }} */
const chosen = { days: 30, measure: "images" };
let turn = 0;
let resizing = new ResizeObserver(() => {});

/** The days up to today, in UTC like what is counted. @param {number} count */
const lastDays = (count) =>
  Array.from({ length: count }, (_, i) =>
    new Date(Date.now() - (count - 1 - i) * DAY_MS).toISOString().slice(0, 10),
  );

/** @param {Day[]} data @param {Measure} measure */
const sum = (data, measure) => data.reduce((total, day) => total + day[measure], 0);

/**
 * @template T
 * @param {string} label
 * @param {readonly (readonly [T, string])[]} options
 * @param {T} current
 * @param {(value: T) => void} onChosen
 */
function choice(label, options, current, onChosen) {
  const buttons = options.map(([value, text]) => {
    const button = make("button", { type: "button", "aria-pressed": String(value === current) }, text);
    button.addEventListener("click", () => {
      for (const other of buttons) other.setAttribute("aria-pressed", String(other === button));
      onChosen(value);
    });
    return button;
  });
  return make("div", { class: "choice", role: "group", "aria-label": label }, ...buttons);
}

/** How far the key's owner is in the month. @param {Usage["quotas"][number]} quota */
function quotaItem({ name, limit, used, reserved, resets_at: anew }) {
  const { label, tell } = MEASURES[name];
  const left = reserved === 0 ? "" : `, ${tell(reserved)} more under way`;
  const from = new Date(anew).toLocaleDateString([], { day: "numeric", month: "long", timeZone: "UTC" });
  return make(
    "li",
    {},
    make("label", { for: `quota-${name}` }, `${label} this month`),
    make("meter", { id: `quota-${name}`, min: 0, max: limit, high: 0.9 * limit, value: used + reserved }),
    make("span", { class: "hint" }, `${tell(used)} of ${tell(limit)}${left}; anew on ${from}`),
  );
}

/** @param {Day[]} data */
function tableOf(data) {
  const head = ["Day (UTC)", "Model", ...NAMES.map((name) => MEASURES[name].label)];
  const rows = data
    .toSorted((a, b) => b.date.localeCompare(a.date) || a.model.localeCompare(b.model))
    .map((day) =>
      make(
        "tr",
        {},
        make("th", { scope: "row" }, day.date),
        make("td", {}, day.model),
        ...NAMES.map((name) => make("td", { class: "number" }, MEASURES[name].tell(day[name]))),
      ),
    );
  return make(
    "div",
    { class: "scroll", tabindex: "0", role: "region", "aria-label": "Usage by day and model" },
    make(
      "table",
      {},
      make(
        "thead",
        {},
        make(
          "tr",
          {},
          ...head.map((text, i) => make("th", { scope: "col", ...(i > 1 ? { class: "number" } : {}) }, text)),
        ),
      ),
      make("tbody", {}, ...rows),
    ),
  );
}

/** @param {HTMLElement} panel @param {import("./states.js").Account} account */
function show(panel, account) {
  if (!may(account, "read")) return panel.replaceChildren(lacking(account, "read", "h2"));
  const content = make("div", { class: "usage" }, loading("Loading usage…"));
  const ranges = choice(
    "Days",
    RANGES.map((days) => [days, `${days} days`]),
    chosen.days,
    (days) => {
      chosen.days = days;
      void read();
    },
  );
  panel.replaceChildren(
    make(
      "section",
      { class: "card", "aria-labelledby": "usage-title" },
      make("div", { class: "label-row" }, make("h2", { id: "usage-title" }, "Usage"), ranges),
      content,
    ),
  );

  /** @param {Usage} answer */
  const fill = ({ data, quotas }) => {
    const dates = lastDays(chosen.days);
    const totals = make(
      "dl",
      { class: "totals" },
      ...NAMES.map((name) =>
        make(
          "div",
          {},
          make("dt", {}, MEASURES[name].label),
          make("dd", {}, MEASURES[name].tell(sum(data, name))),
        ),
      ),
    );
    const limits = quotas.length === 0 ? [] : [make("ul", { class: "quotas" }, ...quotas.map(quotaItem))];
    if (data.length === 0) {
      const days = `None of the last ${chosen.days} days has a run that has ended.`;
      content.replaceChildren(totals, ...limits, blank("Nothing used", days));
      return;
    }
    const plot = make("div", {});
    const byDate = Map.groupBy(data, ({ date }) => date);
    const draw = () => {
      const { label, tell } = MEASURES[chosen.measure];
      const days = dates.map((date) => ({ date, value: sum(byDate.get(date) ?? [], chosen.measure) }));
      if (plot.clientWidth > 0) plot.replaceChildren(plotOf(days, plot.clientWidth, label, tell));
    };
    resizing.disconnect();
    resizing = new ResizeObserver(draw);
    resizing.observe(plot);
    const measures = choice(
      "What the plot shows",
      NAMES.map((name) => /** @type {const} */ ([name, MEASURES[name].label])),
      chosen.measure,
      (name) => {
        chosen.measure = name;
        draw();
      },
    );
    content.replaceChildren(totals, ...limits, measures, plot, tableOf(data));
  };

  const read = async () => {
    const own = ++turn;
    const dates = lastDays(chosen.days);
    try {
      /** @type {Usage} */
      const answer = await client.request(`v1/usage?from=${dates[0]}&to=${dates.at(-1)}`);
      if (own === turn) fill(answer);
    } catch (error) {
      if (own !== turn) return;
      if (!(error instanceof VqdError)) throw error;
      if (error.status === 404)
        content.replaceChildren(blank("This service does not count usage", "A later release of it does."));
      else content.replaceChildren(failure(error, () => void read()));
    }
  };
  void read();
}

export const usageTab = {
  show,
  hide() {
    turn++;
    resizing.disconnect();
  },
};
