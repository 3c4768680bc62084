// What can be done with a finished image.

import { byId } from "../../assets/dom.js";

const dialog = byId("large", HTMLDialogElement);
const large = byId("large-image", HTMLImageElement);

/** @param {string} url @param {string} alt */
export function openLarge(url, alt) {
  large.src = url;
  large.alt = alt;
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

/** A file name that says what it is: the prompt, the seed, and which of several images. @param {{ prompt: string, seed: unknown, index: number, count: number, url: string }} image */
export function fileNameOf({ prompt, seed, index, count, url }) {
  const words = prompt
    .normalize("NFKD")
    .toLowerCase()
    .replaceAll(/[^\p{L}\p{N}]+/gu, "-")
    .slice(0, 60)
    .replaceAll(/^-+|-+$/g, "");
  const extension = /\.(\w+)$/.exec(url)?.[1] ?? "png";
  const place = count === 1 ? "" : `-${index + 1}`;
  return `${words || "image"}-seed-${String(seed)}${place}.${extension}`;
}

/** Downloads an image under a name of its own, instead of the one that the service gives it. @param {string} url @param {string} name */
export async function save(url, name) {
  const blob = URL.createObjectURL(await read(url));
  const link = document.createElement("a");
  link.href = blob;
  link.download = name;
  link.click();
  setTimeout(() => URL.revokeObjectURL(blob), 10_000);
}
