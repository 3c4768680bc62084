// Something that is done in a moment, unless it is undone.

import { byId } from "../assets/dom.js";

const UNDO_MS = 8_000;

const toast = byId("toast", HTMLElement);
const undoButton = byId("undo", HTMLButtonElement);

/** @type {{ undo: () => void, commit: () => void } | undefined} */
let pending;
/** @type {ReturnType<typeof setTimeout> | undefined} */
let timer;

function settle() {
  clearTimeout(timer);
  toast.hidden = true;
  const done = pending;
  pending = undefined;
  return done;
}

/** @param {string} text @param {NonNullable<typeof pending>} action */
export function offerUndo(text, action) {
  settle()?.commit();
  pending = action;
  byId("toast-text", HTMLElement).textContent = text;
  toast.hidden = false;
  arm();
}
const arm = () => {
  clearTimeout(timer);
  timer = setTimeout(() => settle()?.commit(), UNDO_MS);
};
undoButton.addEventListener("click", () => {
  settle()?.undo();
  byId("prompt", HTMLElement).focus();
});
// Whoever is reading it or on the way to the button is not hurried.
for (const type of ["pointerenter", "focusin"]) toast.addEventListener(type, () => clearTimeout(timer));
for (const type of ["pointerleave", "focusout"]) {
  toast.addEventListener(type, () => {
    if (pending !== undefined) arm();
  });
}
addEventListener("pagehide", () => settle()?.commit());
