// What a tab shows instead of what it is for: that it is loading, empty, not allowed, or that something went wrong.

import { VqdError } from "../client/index.js";
import { byId, copyFrom, make, sentence } from "../assets/dom.js";
import { askForKey } from "../assets/key.js";

/**
 * @typedef {import("../client/api.d.ts").components["schemas"]["Account"]} Account
 * @typedef {Account["key"]["scopes"][number]} Scope
 */

/** @type {Record<Scope, string>} */
const USES = {
  read: "seeing runs and usage",
  create: "changing runs and sending events",
  admin: "the secret that signs webhooks",
  metrics: "what covers the whole service",
  billing: "what all owners have used",
};

/** Says something to those who do not see the page change. @param {string} text */
export const announce = (text) => (byId("announcer", HTMLElement).textContent = text);

/** @param {string} text */
export const loading = (text) => make("p", { class: "empty loading" }, text);

/** @param {string} title @param {...(Node | string)} more */
export const blank = (title, ...more) =>
  make("div", { class: "blank" }, make("h3", {}, title), make("p", { class: "hint" }, ...more));

/** @param {string} command */
export function commandBox(command) {
  const copy = make("button", { type: "button" }, "Copy");
  copy.addEventListener("click", () => void copyFrom(copy, command));
  const code = make(
    "pre",
    { tabindex: "0", role: "group", "aria-label": "Command" },
    make("code", {}, command),
  );
  return make("div", { class: "command" }, code, copy);
}

/** @param {Account} account @param {Scope} scope */
export const may = (account, scope) => account.key.scopes.includes(scope);

/**
 * That the key lacks a scope, and how to get one that has it.
 * @param {Account} account
 * @param {Scope} scope
 * @param {"h2" | "h3"} heading h3 below a title
 */
export function lacking(account, scope, heading = "h3") {
  const scopes = [...account.key.scopes, scope].join();
  return make(
    "div",
    { class: "blank" },
    make(heading, {}, "This key may not see that"),
    make(
      "p",
      { class: "hint" },
      `It lacks the scope ${scope}, which is for ${USES[scope]}. Where the service runs, this makes one that has it:`,
    ),
    commandBox(`npm run keys -- create ${account.username} --scopes ${scopes}`),
    make("p", { class: "hint" }, "Then enter it at the top of this page."),
  );
}

/**
 * What went wrong, with a button to try again. A key that is not known any more is asked for.
 * @param {unknown} error
 * @param {() => void} [again]
 */
export function failure(error, again) {
  if (!(error instanceof VqdError)) throw error;
  if (error.status === 401) askForKey("The service does not know this key any more.");
  const seconds =
    error.retryAfterMs === undefined ? "" : ` Try again in ${Math.ceil(error.retryAfterMs / 1_000)} s.`;
  const box = make("div", { class: "alert", role: "alert" }, `${sentence(error.message)}${seconds}`);
  if (error.requestId !== "") box.append(make("small", {}, `Request ${error.requestId}`));
  if (again === undefined) return box;
  const button = make("button", { type: "button" }, "Try again");
  button.addEventListener("click", again);
  box.append(make("div", { class: "row" }, button));
  return box;
}

/**
 * Does something for a button, which is off meanwhile and then has the focus again, or else `rest`. What goes wrong is shown in `said`.
 * @param {HTMLButtonElement} button
 * @param {HTMLElement} said
 * @param {() => Promise<void>} work
 * @param {HTMLElement} [rest] where the focus goes if the button is gone
 */
export async function act(button, said, work, rest) {
  const hadFocus = document.activeElement === button;
  button.disabled = true;
  said.replaceChildren();
  try {
    await work();
  } catch (error) {
    said.replaceChildren(failure(error));
  } finally {
    button.disabled = false;
    if (hadFocus) (button.isConnected && !button.hidden ? button : rest)?.focus();
  }
}
