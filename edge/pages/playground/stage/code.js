// The code that makes what is on the stage, and what the service answers.

import { storedKey } from "../../assets/api.js";
import { byId, copyFrom } from "../../assets/dom.js";
import { createTabs } from "../../assets/tabs.js";
import { SNIPPETS } from "./snippets.js";

const codeText = byId("code-text", HTMLElement);
const panel = byId("code-panel", HTMLElement);
const copy = byId("copy-code", HTMLButtonElement);
const copyWithKey = byId("copy-code-key", HTMLButtonElement);

/** @type {{ model: string, settings: import("../form/fields.js").Settings } | undefined} */
let shown;
let language = "curl";

function show() {
  const snippet = SNIPPETS[language];
  if (shown === undefined || snippet === undefined) return;
  codeText.textContent = snippet.code(shown.model, shown.settings);
  byId("code-how", HTMLElement).textContent = snippet.how;
}

/** Shows the code that makes the result. @param {NonNullable<typeof shown>} result */
export function showCode(result) {
  shown = result;
  show();
}

/** Shows the prediction as the service answers it. @param {object} prediction */
export function showAnswer(prediction) {
  byId("answer", HTMLElement).textContent = JSON.stringify({ ...prediction, logs: undefined }, null, 2);
}

createTabs(byId("languages", HTMLElement), (tab) => {
  language = tab.id.replace("tab-", "");
  panel.setAttribute("aria-labelledby", tab.id);
  show();
});
copy.addEventListener("click", () => void copyFrom(copy, codeText.textContent ?? ""));
copyWithKey.addEventListener("click", () => {
  const key = storedKey();
  const text = codeText.textContent ?? "";
  void copyFrom(copyWithKey, key === null ? text : (SNIPPETS[language]?.withKey(text, key) ?? text));
});
