// Two images, one laid over the other, from the left.

import { byId } from "../../assets/dom.js";

const dialog = byId("pair", HTMLDialogElement);
const frame = byId("pair-frame", HTMLElement);
const below = byId("pair-below", HTMLImageElement);
const above = byId("pair-above", HTMLImageElement);
const slider = byId("pair-slider", HTMLInputElement);
const caption = byId("pair-caption", HTMLElement);

/** @typedef {{ url: string, title: string }} Picture */
/** What has been chosen first. @type {Picture | undefined} */
let first;

const lay = () => frame.style.setProperty("--before", `${slider.value}%`);
slider.addEventListener("input", lay);

/**
 * Takes an image to compare; with the second, which may be another run's, shows both.
 * @param {Picture} picture
 * @returns {string | undefined} what to say about it
 */
export function compareWith(picture) {
  if (first === undefined || first.url === picture.url) {
    first = picture;
    return "Now choose Compare on another image, of this run or of another";
  }
  above.src = first.url;
  above.alt = first.title;
  below.src = picture.url;
  below.alt = picture.title;
  caption.textContent = `Left: ${first.title}. Right: ${picture.title}.`;
  first = undefined;
  slider.value = "50";
  lay();
  dialog.showModal();
  slider.focus();
  return undefined;
}
