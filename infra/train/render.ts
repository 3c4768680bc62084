// Renders SVG icons to raw RGB: JSON lines of SVG texts on stdin, size x size x 3 bytes each on stdout, in order.

import { createInterface } from "node:readline";
import sharp from "sharp";

const size = Number(process.argv[2]);

for await (const line of createInterface({ input: process.stdin })) {
  const pixels = await sharp(Buffer.from(JSON.parse(line)), { density: 72 * 8 })
    .resize(size, size, { fit: "contain", background: "#ffffff" })
    .flatten({ background: "#ffffff" })
    .removeAlpha()
    .raw()
    .toBuffer();
  if (!process.stdout.write(pixels)) await new Promise((done) => process.stdout.once("drain", done));
}
