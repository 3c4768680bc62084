// A run in the list: a line that opens, with its times, its webhooks and what can be done.

import { client } from "../assets/api.js";
import { make } from "../assets/dom.js";
import { patch } from "./patch.js";
import { act, announce, failure, may } from "./states.js";
import { badge, counted, duration, moment } from "./words.js";

/**
 * @typedef {import("../client/types.d.ts").Prediction} Prediction
 * @typedef {import("./states.js").Account} Account
 * @typedef {import("../client/api.d.ts").components["schemas"]["WebhookAttempts"]} WebhookAttempts
 */

/** @type {Record<Prediction["status"], [import("./words.js").Tone, string]>} */
export const STATUS = {
  starting: ["busy", "Waiting"],
  processing: ["busy", "Running"],
  succeeded: ["good", "Succeeded"],
  failed: ["bad", "Failed"],
  canceled: ["plain", "Canceled"],
  aborted: ["plain", "Aborted"],
};
/** @type {Record<WebhookAttempts["results"][number]["state"], [import("./words.js").Tone, string]>} */
const DELIVERY = {
  pending: ["busy", "Waiting"],
  delivered: ["good", "Delivered"],
  failed: ["bad", "Failed"],
  disabled: ["plain", "Disabled by the receiver"],
};

/** @param {Prediction} run */
const isLive = ({ status }) => status === "starting" || status === "processing";

/** @param {Prediction} run */
function promptOf({ input }) {
  const prompts = [input.prompt ?? input.class_label ?? []].flat();
  return prompts.length === 0 ? "No prompt" : prompts.join(" · ");
}

/** How far it is, or how long it took. @param {Prediction} run */
function progressOf({ status, metrics, queue }) {
  if (status === "starting") return queue === null ? "" : `Place ${queue.position}`;
  if (status === "processing") return `Step ${metrics.steps} of ${metrics.total_steps}`;
  return metrics.predict_time === undefined ? "" : duration(metrics.predict_time);
}

/** @param {string} term @param {...(Node | string)} value */
const fact = (term, ...value) => make("div", {}, make("dt", {}, term), make("dd", {}, ...value));
/** One whose value is long. @type {typeof fact} */
const wideFact = (...given) => {
  const element = fact(...given);
  element.className = "wide";
  return element;
};

/** @param {Prediction} run */
function factsOf(run) {
  const { metrics, created_at: created, started_at: started, completed_at: completed } = run;
  /** @param {string} from @param {string} to */
  const between = (from, to) => duration(Math.max(0, Date.parse(to) - Date.parse(from)) / 1_000);
  const facts = [
    wideFact("Id", make("code", {}, run.id)),
    fact("Model", run.model, " ", make("small", { title: run.version }, run.version.slice(0, 12))),
    fact(
      "Made",
      `${counted(metrics.image_count, "image")}, ${metrics.steps} of ${counted(metrics.total_steps, "step")}`,
    ),
    fact("Created", moment(created)),
  ];
  if (started !== null) facts.push(fact("Started", moment(started), ` after ${between(created, started)}`));
  if (completed !== null)
    facts.push(fact("Ended", moment(completed), ` after ${between(created, completed)}`));
  if (run.output_expires_at !== null && run.output !== null)
    facts.push(fact("Images until", moment(run.output_expires_at)));
  if (run.error !== null) facts.push(wideFact("Error", `${run.error} (${run.error_code ?? "no code"})`));
  if (run.webhook !== undefined) facts.push(wideFact("Webhook", make("code", {}, run.webhook)));
  return facts;
}

/** @param {WebhookAttempts["results"][number]["attempts"][number]} attempt */
const attemptItem = ({ at, status, error, duration_ms: ms }) =>
  make(
    "li",
    {},
    moment(at),
    `: ${status === null ? "" : `status ${status}, `}${error === null ? "" : `${error}, `}${duration(ms / 1_000)}`,
  );

/** @param {WebhookAttempts["results"][number]} delivery */
const deliveryItem = ({ id, event, state, next_attempt_at: next, attempts }) =>
  make(
    "li",
    { class: "delivery" },
    make(
      "div",
      { class: "label-row" },
      make("span", {}, make("code", { title: id }, event)),
      badge(...DELIVERY[state]),
    ),
    make("ul", {}, ...attempts.map(attemptItem)),
    next === null ? undefined : make("p", { class: "hint" }, "Next attempt: ", moment(next)),
  );

/**
 * @param {Prediction} first
 * @param {Account} account
 * @param {() => void} onChanged called when something has been done to it
 */
export function createRun(first, account, onChanged) {
  let run = first;
  const mark = make("span", { class: "run-status" });
  const far = make("span", { class: "run-far" });
  const summary = make(
    "summary",
    {},
    mark,
    make("span", { class: "run-prompt" }, promptOf(run)),
    make("span", { class: "run-model" }, run.model),
    make("span", { class: "run-at" }, moment(run.created_at)),
    far,
  );
  const facts = make("dl", { class: "facts" });
  const said = make("div", {});
  const cancel = make("button", { type: "button" }, "Cancel");
  const buttons = make(
    "div",
    { class: "row" },
    make("a", { class: "button", href: `./#run=${encodeURIComponent(run.id)}` }, "Open in the playground"),
    cancel,
  );
  const webhooks = make("div", { class: "deliveries", hidden: true });
  const body = make("div", { class: "run-body" }, facts, buttons, said, webhooks);
  const details = make("details", { class: "run" }, summary, body);
  const element = make("li", {}, details);
  const path = `v1/predictions/${encodeURIComponent(run.id)}`;

  const paint = () => {
    patch(mark, [badge(...STATUS[run.status])]);
    far.textContent = progressOf(run);
    cancel.hidden = !isLive(run) || !may(account, "create");
    if (details.open) patch(facts, factsOf(run));
  };

  cancel.addEventListener("click", () => {
    void act(
      cancel,
      said,
      async () => {
        await client.cancel(run.id);
        announce("The run is canceled.");
        onChanged();
      },
      summary,
    );
  });

  const deliveries = make("div", {});
  const look = make("button", { type: "button", class: "quiet" }, "Refresh");
  const again = make("button", { type: "button", hidden: true }, "Send the last one again");
  webhooks.append(
    make("div", { class: "label-row" }, make("h3", {}, "Webhook attempts"), look),
    deliveries,
    make("div", { class: "row" }, again),
  );
  const readWebhooks = async () => {
    if (run.webhook === undefined) return;
    webhooks.hidden = false;
    try {
      /** @type {WebhookAttempts} */
      const { results } = await client.request(`${path}/webhook-attempts`);
      again.hidden = !may(account, "create") || !results.some(({ event }) => event === "completed");
      const none = make("p", { class: "hint" }, "None yet.");
      patch(deliveries, [
        results.length === 0 ? none : make("ul", { class: "rows" }, ...results.map(deliveryItem)),
      ]);
    } catch (error) {
      deliveries.replaceChildren(failure(error, () => void readWebhooks()));
    }
  };
  look.addEventListener("click", () => void act(look, said, readWebhooks));
  again.addEventListener("click", () => {
    void act(again, said, async () => {
      await client.request(`${path}/webhook-attempts/redeliver`, { method: "POST" });
      announce("The webhook is being sent again.");
      await readWebhooks();
    });
  });
  details.addEventListener("toggle", () => {
    if (!details.open) return;
    paint();
    void readWebhooks();
  });
  paint();

  return {
    element,
    get isLive() {
      return isLive(run);
    },
    /** @param {Prediction} now */
    update(now) {
      const hasEnded = isLive(run) && !isLive(now);
      run = now;
      paint();
      if (hasEnded && details.open) void readWebhooks();
    },
  };
}
