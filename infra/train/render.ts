// Renders SVG icons: JSON lines of {"svg", "size"} on stdin; RGBA, size x size x 4 bytes each on stdout, in order.

import { createInterface } from "node:readline";
import sharp from "sharp";

const CLEAR = { r: 0, g: 0, b: 0, alpha: 0 };
const DENSITY = 72 * 8;

interface Icon {
  svg: string;
  /** Side in pixels. */
  size: number;
}

for await (const line of createInterface({ input: process.stdin })) {
  const { svg, size } = JSON.parse(line) as Icon;
  const pixels = await sharp(Buffer.from(svg), { density: DENSITY })
    .resize(size, size, { fit: "contain", background: CLEAR })
    .ensureAlpha()
    .raw()
    .toBuffer();
  if (!process.stdout.write(pixels)) await new Promise((done) => process.stdout.once("drain", done));
}
