// The tab of webhooks: the secret that signs them, an event to try a receiver, and code that receives them.

import { VqdError } from "../client/index.js";
import { client } from "../assets/api.js";
import { byId, copyFrom, make, sentence } from "../assets/dom.js";
import { createTabs } from "../assets/tabs.js";
import { RECEIVERS } from "./receivers.js";
import { act, announce, lacking, may } from "./states.js";
import { badge, duration, moment } from "./words.js";

/** @typedef {import("./states.js").Account} Account */

const rotateDialog = byId("rotate", HTMLDialogElement);

/** @param {string} id @param {string} title @param {...(Node | string)} content */
const card = (id, title, ...content) =>
  make("section", { class: "card", "aria-labelledby": id }, make("h2", { id }, title), ...content);

/** @param {Account} account */
function secretCard(account) {
  const title = "Signing secret";
  if (!may(account, "admin")) return card("secret-title", title, lacking(account, "admin"));
  const said = make("div", {});
  const value = make("code", { id: "secret" });
  const copy = make("button", { type: "button" }, "Copy");
  const shown = make(
    "div",
    { class: "command", hidden: true },
    make("pre", { tabindex: "0", role: "group", "aria-label": "Secret" }, value),
    copy,
  );
  const toggle = make(
    "button",
    { type: "button", id: "secret-show", "aria-expanded": "false" },
    "Show the secret",
  );
  const rotate = make("button", { type: "button", id: "secret-rotate" }, "Make a new one…");
  copy.addEventListener("click", () => void copyFrom(copy, value.textContent ?? ""));

  /** @param {string} secret empty to hide it */
  const reveal = (secret) => {
    value.textContent = secret;
    shown.hidden = secret === "";
    toggle.textContent = secret === "" ? "Show the secret" : "Hide the secret";
    toggle.setAttribute("aria-expanded", String(secret !== ""));
  };
  toggle.addEventListener("click", () => {
    if (!shown.hidden) return reveal("");
    void act(toggle, said, async () => reveal((await client.request("v1/webhooks/default/secret")).key));
  });
  const renew = async () => {
    const path = "v1/webhooks/default/secret/rotate";
    const { key, old_key_signs_until: until } = await client.request(path, { method: "POST" });
    reveal(key);
    said.replaceChildren(
      make(
        "p",
        { class: "notice" },
        "This one signs from now on; the old one too, until ",
        moment(until),
        ".",
      ),
    );
    announce("A new secret signs webhooks.");
  };
  rotate.addEventListener("click", () => {
    rotateDialog.returnValue = "";
    rotateDialog.showModal();
    const onClosed = () => void (rotateDialog.returnValue === "rotate" && act(rotate, said, renew));
    rotateDialog.addEventListener("close", onClosed, { once: true });
  });
  return card(
    "secret-title",
    title,
    make("p", {}, `One secret signs the webhooks of all runs of ${account.username}. Receivers check it.`),
    make("div", { class: "row" }, toggle, rotate),
    shown,
    said,
  );
}

/** @param {Account} account */
function trialCard(account) {
  const title = "Try a receiver";
  if (!may(account, "create")) return card("trial-title", title, lacking(account, "create"));
  const url = make("input", {
    id: "trial-url",
    type: "url",
    inputmode: "url",
    placeholder: "https://example.com/hook",
    autocomplete: "off",
    spellcheck: "false",
    "aria-describedby": "trial-error trial-hint",
  });
  const error = make("p", { class: "error", id: "trial-error", role: "alert", hidden: true });
  const send = make("button", { type: "submit", class: "primary" }, "Send test event");
  const said = make("div", { id: "trial-answer", role: "status" });
  const form = make(
    "form",
    { class: "line-form", novalidate: true },
    make(
      "div",
      { class: "field" },
      make("label", { for: "trial-url" }, "URL of the receiver"),
      url,
      error,
      make(
        "p",
        { class: "hint", id: "trial-hint" },
        "It gets the end of a run that never was, signed like any other: its id is test, and it says test: true.",
      ),
    ),
    send,
  );
  /** @param {string} text */
  const complain = (text) => {
    error.textContent = text;
    error.hidden = text === "";
    url.toggleAttribute("aria-invalid", false);
    if (text !== "") url.setAttribute("aria-invalid", "true");
  };
  url.addEventListener("input", () => complain(""));
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    complain("");
    if (url.value.trim() === "") {
      url.focus();
      return complain("Enter a URL first.");
    }
    send.textContent = "Waiting for the receiver…";
    void act(send, said, async () => {
      try {
        said.replaceChildren(
          outcome(await client.request("v1/webhooks/default/test", { body: { url: url.value.trim() } })),
        );
      } catch (thrown) {
        const field =
          thrown instanceof VqdError ? thrown.errors.find(({ path }) => path === "url") : undefined;
        if (field === undefined) throw thrown;
        complain(sentence(`it ${field.message}`));
        url.focus();
      }
    }).finally(() => (send.textContent = "Send test event"));
  });
  return card("trial-title", title, form, said);
}

/** @param {import("../client/api.d.ts").components["schemas"]["TestedWebhook"]} answer */
function outcome({ id, delivered, status, error, duration_ms: ms }) {
  const what = [
    ...(status === null ? [] : [`Status ${status}`]),
    ...(error === null ? [] : [sentence(error)]),
  ];
  const advice =
    delivered || status === null ? "" : " A receiver accepts an event with a status from 200 to 299.";
  return make(
    "div",
    { class: "outcome" },
    badge(delivered ? "good" : "bad", delivered ? "Delivered" : "Not delivered"),
    make(
      "span",
      {},
      `${what.join(". ")}${what.at(-1)?.endsWith(".") ? "" : ","} after ${duration(ms / 1_000)}.${advice}`,
    ),
    make("code", { title: "webhook-id" }, id),
  );
}

function receiverCard() {
  const code = make("code", { id: "receiver-code" });
  const copy = make("button", { type: "button" }, "Copy");
  const names = Object.keys(RECEIVERS);
  const list = make(
    "div",
    { role: "tablist", "aria-label": "Language of the receiver" },
    ...names.map((name, i) =>
      make(
        "button",
        {
          type: "button",
          role: "tab",
          id: `receiver-${name}`,
          "aria-controls": "receiver-panel",
          "aria-selected": String(i === 0),
          tabindex: i === 0 ? 0 : -1,
        },
        RECEIVERS[name]?.label,
      ),
    ),
  );
  const how = make("p", { class: "hint" });
  const panel = make(
    "div",
    { role: "tabpanel", id: "receiver-panel" },
    how,
    make("pre", { tabindex: "0", role: "group", "aria-label": "Code of the receiver" }, code),
  );
  const select = createTabs(list, (tab) => {
    const receiver = RECEIVERS[tab.id.replace("receiver-", "")];
    panel.setAttribute("aria-labelledby", tab.id);
    code.textContent = receiver?.code ?? "";
    how.replaceChildren(
      "Save it and run ",
      make("code", {}, receiver?.run ?? ""),
      ". Nothing needs to be installed.",
    );
  });
  copy.addEventListener("click", () => void copyFrom(copy, code.textContent ?? ""));
  const element = card("receiver-title", "A receiver", make("div", { class: "tabs" }, list, copy), panel);
  const [first] = list.children;
  if (first instanceof HTMLElement) select(first);
  return element;
}

export const webhooksTab = {
  /** @param {HTMLElement} panel @param {Account} account */
  show(panel, account) {
    panel.replaceChildren(trialCard(account), secretCard(account), receiverCard());
  },
  /** Nobody who comes later sees the secret. */
  hide() {
    byId("panel-webhooks", HTMLElement).replaceChildren();
  },
};
