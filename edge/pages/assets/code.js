// The code of a result, in tabs.

import { byId, copyFrom } from "./dom.js";
import { SNIPPETS } from "./snippets.js";

const tabs = Object.keys(SNIPPETS).map((name) => byId(`tab-${name}`, HTMLButtonElement));
const codeText = byId("code-text", HTMLElement);

/** @type {{ model: string, settings: import("./settings.js").Settings } | undefined} */
let shown;

function show() {
  const tab = tabs.find((candidate) => candidate.getAttribute("aria-selected") === "true");
  if (tab === undefined || shown === undefined) return;
  codeText.textContent = SNIPPETS[tab.id.replace("tab-", "")]?.(shown.model, shown.settings) ?? "";
}

/** Shows the code that makes the result. @param {NonNullable<typeof shown>} result */
export function showCode(result) {
  shown = result;
  show();
}

/** @param {HTMLButtonElement} chosen */
function choose(chosen) {
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
  }
  byId("code-panel", HTMLElement).setAttribute("aria-labelledby", chosen.id);
  show();
}
for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
    const next = to === undefined ? undefined : tabs[to % tabs.length];
    if (next === undefined) return;
    choose(next);
    next.focus();
  });
}
const copyCode = byId("copy-code", HTMLButtonElement);
copyCode.addEventListener("click", () => void copyFrom(copyCode, codeText.textContent ?? ""));
