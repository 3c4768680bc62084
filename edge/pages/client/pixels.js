// Tokens as pixels: each in the colour that the model publishes for it, masked ones transparent.

/** @typedef {import("./types.d.ts").Palette} Palette */

/** @param {string} base64 */
const bytesOf = (base64) => Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));

/**
 * The tokens in a `step` event, one array per image.
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
 * A palette as `GET /v1/models/{owner}/{name}/palette` answers it.
 * @param {import("./api.d.ts").components["schemas"]["Palette"]} answer
 * @returns {Palette}
 */
export const paletteFrom = ({ mask, latent_width: width, latent_height: height, rgb }) => ({
  mask,
  width,
  height,
  rgb: bytesOf(rgb),
});

/**
 * Red, green, blue and alpha of each token of an image, as ImageData has them: `palette.width` by `palette.height` pixels.
 * @param {Uint16Array} tokens
 * @param {Palette} palette
 * @returns {Uint8ClampedArray<ArrayBuffer>}
 */
export function pixelsOf(tokens, { mask, rgb }) {
  const pixels = new Uint8ClampedArray(4 * tokens.length);
  tokens.forEach((token, i) => {
    if (token === mask) return;
    pixels.set(rgb.subarray(3 * token, 3 * token + 3), 4 * i);
    pixels[4 * i + 3] = 255;
  });
  return pixels;
}

/**
 * Draws the tokens of an image on a canvas, a pixel per token.
 * @param {HTMLCanvasElement | OffscreenCanvas} canvas
 * @param {Uint16Array} tokens
 * @param {Palette} palette
 */
export function paint(canvas, tokens, palette) {
  const { width, height } = palette;
  if (canvas.width !== width || canvas.height !== height) {
    canvas.width = width;
    canvas.height = height;
  }
  /** @type {CanvasRenderingContext2D | OffscreenCanvasRenderingContext2D | null} */
  const context = canvas.getContext("2d");
  context?.putImageData(new ImageData(pixelsOf(tokens, palette), width, height), 0, 0);
}
