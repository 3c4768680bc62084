// The console: whose key is in use, and a tab for each thing that it lets one see.

import { VqdError } from "../client/index.js";
import { client, storedKey } from "../assets/api.js";
import { byId, copyFrom, make, sentence } from "../assets/dom.js";
import {
  askForKey,
  closeKeyPanel,
  offerKey,
  onKeyEntered,
  onKeyForgotten,
  showKeyState,
} from "../assets/key.js";
import { createTabs } from "../assets/tabs.js";
import { runsTab } from "./runs.js";
import { usageTab } from "./usage.js";
import { webhooksTab } from "./webhooks.js";
import { workersTab } from "./workers.js";

/** @typedef {import("./states.js").Account} Account */
/**
 * A tab: `show` fills its panel, `hide` stops what it does by itself.
 * @typedef {{ show: (panel: HTMLElement, account: Account) => void, hide: () => void }} Tab
 */

/** @type {Record<string, Tab>} */
const TABS = { runs: runsTab, webhooks: webhooksTab, workers: workersTab, usage: usageTab };

const gate = byId("gate", HTMLElement);
const gateAction = byId("gate-action", HTMLButtonElement);
const tabbed = byId("tabbed", HTMLElement);
const ownKey = byId("own-key", HTMLDetailsElement);

/** @type {Account | undefined} */
let account;
let current = "runs";
/** @type {Tab | undefined} */
let shown;
let onAction = () => {};
gateAction.addEventListener("click", () => onAction());

/** Shows one thing to do instead of the tabs. @param {string} title @param {string} text @param {{ label: string, run: () => void }} [action] */
function close(title, text, action) {
  shown?.hide();
  shown = account = undefined;
  tabbed.hidden = ownKey.hidden = true;
  gate.hidden = false;
  byId("gate-title", HTMLElement).textContent = title;
  byId("gate-text", HTMLElement).textContent = text;
  gateAction.hidden = action === undefined;
  gateAction.textContent = action?.label ?? "";
  onAction = action?.run ?? (() => {});
}

/** @param {Account} known */
function showOwnKey({ username, key }) {
  byId("own-name", HTMLElement).textContent = username;
  byId("own-scopes", HTMLElement).replaceChildren(
    ...key.scopes.flatMap((scope) => [make("code", {}, scope), " "]),
  );
  const { per_minute: perMinute, live } = key.limits;
  const until = key.expires_at === null ? "" : `, until ${new Date(key.expires_at).toLocaleDateString()}`;
  byId("own-limits", HTMLElement).textContent =
    `${perMinute.toLocaleString("en")} runs a minute, ${live.toLocaleString("en")} at once, ` +
    `priority up to ${key.priority}${until}`;
  byId("own-command", HTMLElement).textContent = `npm run keys -- create ${username} --scopes read`;
  ownKey.hidden = false;
}
const copy = byId("own-copy", HTMLButtonElement);
copy.addEventListener("click", () => void copyFrom(copy, byId("own-command", HTMLElement).textContent ?? ""));

async function enter() {
  const key = storedKey();
  const ask = { label: "Enter an API key", run: () => askForKey() };
  if (key === null) {
    const text =
      "It shows the runs, webhooks and usage of a key's owner. The service prints a key when it starts.";
    return close("The console needs a key", text, ask);
  }
  close("Looking up the key…", "");
  try {
    /** @type {Account} */
    const known = await client.request("v1/account");
    // Another may have been entered meanwhile.
    if (storedKey() !== key) return;
    account = known;
  } catch (error) {
    if (!(error instanceof VqdError)) throw error;
    if (error.status === 401)
      return close("The service does not know this key", "It may have expired, or been revoked.", ask);
    return close("The key cannot be looked up", sentence(error.message), {
      label: "Try again",
      run: () => void enter(),
    });
  }
  gate.hidden = true;
  tabbed.hidden = false;
  showOwnKey(account);
  choose(current);
}

/** @param {string} name */
function choose(name) {
  current = name;
  for (const other of Object.keys(TABS)) byId(`panel-${other}`, HTMLElement).hidden = other !== name;
  document.title = `${byId(`tab-${name}`, HTMLElement).textContent?.trim() ?? ""} · Console · vqd`;
  if (account === undefined) return;
  shown?.hide();
  shown = TABS[name];
  shown?.show(byId(`panel-${name}`, HTMLElement), account);
}

/** The addresses of tabs that have been left, with what was chosen in them. @type {Map<string, string>} */
const left = new Map();
const select = createTabs(byId("tabs", HTMLElement), (tab) => {
  const name = tab.id.replace("tab-", "");
  const shownNow = tabOf(location.hash);
  if (shownNow !== name) {
    if (shownNow !== undefined) left.set(shownNow, location.hash);
    history.replaceState(null, "", left.get(name) ?? `#${name}`);
  }
  choose(name);
});

document.addEventListener("keydown", ({ key }) => {
  if (key === "Escape" && document.querySelector("dialog[open]") === null) closeKeyPanel();
});
onKeyEntered(() => {
  // The form that had the focus is closed.
  void enter().then(() =>
    byId(account === undefined ? "gate-action" : `tab-${current}`, HTMLElement).focus(),
  );
});
onKeyForgotten(() => void enter());

/** @param {string} hash such as `#runs?status=failed` */
function tabOf(hash) {
  const name = hash.slice(1).split("?")[0] ?? "";
  return Object.hasOwn(TABS, name) ? name : undefined;
}

/** The address has a key that is to be asked about, or names a tab. */
async function readAddress() {
  const key = new URLSearchParams(location.hash.slice(1)).get("key");
  if (key === null) {
    const name = tabOf(location.hash);
    if (name !== undefined) select(byId(`tab-${name}`, HTMLElement));
    return;
  }
  history.replaceState(null, "", location.pathname + location.search);
  await offerKey(key);
  await enter();
}
addEventListener("hashchange", () => void readAddress());
showKeyState();
void enter();
void readAddress();
