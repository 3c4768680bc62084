// The words that a model knows: those of a prompt that it does not, and the list.

import { VqdError } from "../../client/index.js";
import { client } from "../../assets/api.js";
import { byId, make } from "../../assets/dom.js";

const prompt = byId("prompt", HTMLTextAreaElement);
const unknown = byId("words-unknown", HTMLElement);
const line = byId("known-line", HTMLElement);
const open = byId("words-open", HTMLButtonElement);
const dialog = byId("words", HTMLDialogElement);
const filter = byId("words-filter", HTMLInputElement);
const list = byId("words-list", HTMLUListElement);

const WORD = /\p{L}[\p{L}\p{M}'’-]*/gu;

/** Words in the list at once. */
const MOST_LISTED = 500;
/** They name nothing that a picture could show. */
const FUNCTION_WORDS = new Set("a an and at by for in is of on or the to with".split(" "));

/** In lower case; undefined for a model that says nothing of its words. @type {ReadonlySet<string> | undefined} */
let known;

/** Reads the words of a model. @param {import("../../client/types.d.ts").Model} model */
export async function loadWords({ id, conditioning, known_words: count }) {
  known = undefined;
  try {
    // Others have no prompts, or classes instead of words; and most do not say.
    if (conditioning === "text" && count !== null) {
      const { words } = await client.request(`v1/models/${id}/vocabulary`);
      known = new Set(words);
    }
  } catch (error) {
    // Unmarked, the prompt is as good.
    if (!(error instanceof VqdError)) throw error;
  }
  line.hidden = known === undefined;
  open.textContent = `All ${known?.size ?? 0} words that it knows`;
  mark();
}

/** @param {string} word */
function isKnown(word) {
  if (known === undefined || known.has(word) || FUNCTION_WORDS.has(word)) return true;
  const parts = word.split(/[-'’]/).filter((part) => part !== "");
  return parts.length > 1 && parts.every((part) => known?.has(part) || part === "s");
}

/** Says below the prompt which of its words the model does not know. */
export function mark() {
  const words = [...new Set(prompt.value.toLowerCase().match(WORD) ?? [])].filter((word) => !isKnown(word));
  const marks = words.flatMap((word, i) => [i === 0 ? "" : ", ", make("mark", {}, word)]);
  const text = words.length === 0 ? [] : ["This model does not know ", ...marks, "."];
  if (
    unknown.textContent !== text.map((part) => (typeof part === "string" ? part : part.textContent)).join("")
  )
    unknown.replaceChildren(...text);
}
prompt.addEventListener("input", mark);

function showList() {
  const wanted = filter.value.trim().toLowerCase();
  const found = [...(known ?? [])].filter((word) => word.includes(wanted)).toSorted();
  const more = found.length - MOST_LISTED;
  list.replaceChildren(
    ...found.slice(0, MOST_LISTED).map((word) => make("li", {}, word)),
    ...(more > 0 ? [make("li", {}, `… and ${more} more`)] : []),
  );
}
filter.addEventListener("input", showList);
open.addEventListener("click", () => {
  dialog.showModal();
  showList();
  filter.focus();
});
