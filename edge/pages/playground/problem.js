// What went wrong, beside the field it is about or above the stage.

import { VqdError } from "../client/index.js";
import { storedKey } from "../assets/api.js";
import { byId, make, sentence } from "../assets/dom.js";
import { askForKey } from "../assets/key.js";
import { clearFieldErrors, showFieldErrors } from "./form/fields.js";

const problem = byId("problem", HTMLElement);
/** @type {ReturnType<typeof setInterval> | undefined} */
let countdown;

export function clearProblem() {
  clearInterval(countdown);
  problem.hidden = true;
  clearFieldErrors();
}

/** @param {...(Node | string)} content */
export function showProblem(...content) {
  clearInterval(countdown);
  problem.replaceChildren(...content);
  problem.hidden = false;
}

/** @param {unknown} error */
export function showError(error) {
  if (!(error instanceof VqdError)) throw error;
  if (error.status === 401)
    return askForKey(storedKey() === null ? "An API key is required." : "This API key is invalid.");
  const rest = showFieldErrors(error.errors);
  if (error.errors.length > 0 && rest.length === 0) return;
  const when = make("span");
  const id = error.requestId === "" ? "" : make("small", {}, `Request ${error.requestId}`);
  showProblem(sentence(error.message), " ", when, id);
  if (error.retryAfterMs !== undefined) countDown(when, Date.now() + error.retryAfterMs);
}

/** Says when to try again. @param {HTMLElement} when @param {number} at */
function countDown(when, at) {
  const tell = () => {
    const left = Math.ceil((at - Date.now()) / 1_000);
    when.textContent = left > 0 ? `Try again in ${left} s.` : "You can try again now.";
    if (left <= 0) clearInterval(countdown);
  };
  countdown = setInterval(tell, 1_000);
  tell();
}
