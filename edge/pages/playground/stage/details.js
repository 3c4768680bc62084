// The details of a run, as a list.

import { byId, make } from "../../assets/dom.js";
import { seedOf } from "../form/fields.js";
import { shortest } from "../form/settings.js";

const list = byId("details", HTMLElement);

/** @param {string | null} time */
const inWords = (time) => (time === null ? undefined : new Date(time).toLocaleString());

/** @param {import("../../client/types.d.ts").Prediction} run */
export function showDetails(run) {
  const { model, version, status, metrics, id, input } = run;
  const settings = /** @type {import("../form/fields.js").Settings} */ (input);
  const { prompt, ...others } = shortest(settings);
  const seconds = (/** @type {number | undefined} */ value) =>
    value === undefined ? undefined : `${value.toFixed(2)} s`;
  /** @type {[string, unknown][]} */
  const rows = [
    ["Prompt", prompt],
    [settings["seeds"] ? "Seeds" : "Seed", settings[seedOf(settings)]],
    ...Object.entries(others).filter(
      ([name]) => !["image", "mask", "tokens", "seed", "seeds"].includes(name),
    ),
    ["Steps", metrics.total_steps],
    ["Model", model],
    ["Version", version],
    ["Status", status],
    ["Created", inWords(run.created_at)],
    ["Worked on for", seconds(metrics.predict_time)],
    ["From request to result", seconds(metrics.total_time)],
    ["Images kept until", inWords(run.output_expires_at)],
    ["Numerics", metrics.numerics_id],
    ["Run", id],
  ];
  list.replaceChildren(
    ...rows.flatMap(([name, value]) =>
      value === undefined || value === null
        ? []
        : [make("dt", {}, name), make("dd", {}, typeof value === "string" ? value : JSON.stringify(value))],
    ),
  );
}
