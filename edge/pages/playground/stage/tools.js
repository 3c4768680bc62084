// What can be done with a finished image.

import { byId, make } from "../../assets/dom.js";

const dialog = byId("large", HTMLDialogElement);
const large = byId("large-image", HTMLImageElement);
const link = byId("large-run", HTMLAnchorElement);
link.addEventListener("click", () => dialog.close());

/** @param {string} url @param {string} alt @param {string} [run] the address of the run, if that is not on the stage */
export function openLarge(url, alt, run = "") {
  large.src = url;
  large.alt = alt;
  link.href = run;
  link.hidden = run === "";
  dialog.setAttribute("aria-label", alt);
  dialog.showModal();
}
dialog.addEventListener("click", ({ target }) => {
  if (target === dialog) dialog.close();
});

/** @param {string} url */
export async function read(url) {
  const response = await fetch(url);
  if (!response.ok) throw new DOMException("the image has expired", "NotFoundError");
  return response.blob();
}

/** A PNG, which is what clipboards take. @param {Blob} image */
async function asPng(image) {
  if (image.type === "image/png") return image;
  const bitmap = await createImageBitmap(image);
  const canvas = new OffscreenCanvas(bitmap.width, bitmap.height);
  canvas.getContext("2d")?.drawImage(bitmap, 0, 0);
  return canvas.convertToBlob({ type: "image/png" });
}

/** @param {string} url @returns {Promise<string>} what to say about it */
export async function copyImage(url) {
  if (!("clipboard" in navigator) || !("ClipboardItem" in globalThis))
    return "Browsers copy images only on pages with https. Download it instead.";
  try {
    await navigator.clipboard.write([new ClipboardItem({ "image/png": asPng(await read(url)) })]);
    return "Image copied";
  } catch {
    return "The image could not be copied";
  }
}

/** A text as the beginning of a file name. @param {string} text */
export const wordsOf = (text) =>
  text
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
    .slice(0, 60)
    .replaceAll(/^-+|-+$/g, "") || "image";

/** A file name that says what it is: the prompt, the seed, and which of several images. @param {{ prompt: string, seed: unknown, index: number, count: number, url: string }} image */
export function fileNameOf({ prompt, seed, index, count, url }) {
  const extension = /\.(\w+)$/.exec(url)?.[1] ?? "png";
  const place = count === 1 ? "" : `-${index + 1}`;
  return `${wordsOf(prompt)}-seed-${String(seed)}${place}.${extension}`;
}

/** Downloads an image under a name of its own, instead of the one that the service gives it. @param {string} url @param {string} name */
export const save = async (url, name) => saveBlob(await read(url), name);

/** @param {Blob} blob @param {string} name */
export function saveBlob(blob, name) {
  const href = URL.createObjectURL(blob);
  make("a", { href, download: name }).click();
  setTimeout(() => URL.revokeObjectURL(href), 10_000);
}
