// Paints tokens as images: each class in the colour that the model publishes for it, masked tokens transparent.

import { request } from "./api.js";

/**
 * @typedef {object} Palette
 * @property {number} mask
 * @property {number} width latent pixels
 * @property {number} height
 * @property {Uint8Array} rgb
 */

/** @type {Map<string, Promise<Palette>>} */
const palettes = new Map();

/** @param {string} base64 */
const bytesOf = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

/**
 * The palette of a model's version. Throws an ApiError.
 * @param {string} model `owner/name`
 * @param {string} version
 * @returns {Promise<Palette>}
 */
export function paletteOf(model, version) {
  let palette = palettes.get(version);
  if (palette === undefined) {
    palette = request(`v1/models/${model}:${version}/palette`).then((answer) => ({
      mask: answer.mask,
      width: answer.latent_width,
      height: answer.latent_height,
      rgb: bytesOf(answer.rgb),
    }));
    palettes.set(version, palette);
    palette.catch(() => palettes.delete(version));
  }
  return palette;
}

/**
 * The class ids in a `step` event, one array per image.
 * @param {string} base64 little-endian uint16
 * @param {number} images
 * @returns {Uint16Array[]}
 */
export function tokensOf(base64, images) {
  const bytes = bytesOf(base64);
  const view = new DataView(bytes.buffer);
  const length = bytes.length / 2 / images;
  return Array.from({ length: images }, (_, image) =>
    Uint16Array.from({ length }, (_unused, i) => view.getUint16(2 * (image * length + i), true)),
  );
}

/**
 * Draws the tokens of one image, one pixel per token.
 * @param {HTMLCanvasElement} canvas
 * @param {Uint16Array} tokens
 * @param {Palette} palette
 */
export function paint(canvas, tokens, { mask, width, height, rgb }) {
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  const context = canvas.getContext("2d");
  if (context === null) return;
  const image = context.createImageData(width, height);
  tokens.forEach((token, i) => {
    if (token === mask) return;
    image.data.set(rgb.subarray(3 * token, 3 * token + 3), 4 * i);
    image.data[4 * i + 3] = 255;
  });
  context.putImageData(image, 0, 0);
}
