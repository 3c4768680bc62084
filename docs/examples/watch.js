// Draws an image in the terminal while it is made: `KEY=… npx node docs/examples/watch.js "fox, flat style"`, in the repository.
// Elsewhere, import from "@vqd/client".

import { pixelsOf, VqdClient } from "../../edge/pages/client/index.js";

const baseUrl = process.env["IMAGES_URL"] ?? "http://127.0.0.1:8787";
const client = new VqdClient({ baseUrl, apiKey: process.env["KEY"] ?? null });

const prediction = await client.create({ prompt: process.argv[2] ?? "fox, flat style" });
const palette = await client.palette(prediction.model, prediction.version);

/** @param {Uint8ClampedArray} pixels two blocks per pixel, in its colour */
function drawing(pixels) {
  const blockAt = (/** @type {number} */ i) => {
    const [red, green, blue, alpha] = pixels.subarray(4 * i, 4 * i + 4);
    return alpha === 0 ? "  " : `\u001B[48;2;${red};${green};${blue}m  \u001B[0m`;
  };
  const row = (/** @type {number} */ y) =>
    Array.from({ length: palette.width }, (_, x) => blockAt(y * palette.width + x)).join("");
  return Array.from({ length: palette.height }, (_, y) => row(y)).join("\n");
}

/** @param {string} text */
const say = (text) => process.stdout.write(`${text}\n`);

for await (const { type, data } of client.events(prediction)) {
  if (type === "step") {
    const [tokens = new Uint16Array()] = data.tokens;
    say(`${drawing(pixelsOf(tokens, palette))}\nstep ${data.step} of ${data.total}`);
  }
  if (type === "output") say(client.url(data.url));
  if (type === "done") say(data.status);
}
