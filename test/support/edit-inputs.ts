// Something to edit, as a caller sends it.

import sharp, { type Sharp } from "sharp";

const flat = (width: number, height: number, background: string): Sharp =>
  sharp({ create: { width, height, channels: 3, background } });

async function dataUrl(width: number, height: number, shapes: [string, number, number][]): Promise<string> {
  const [[ground] = ["black", 0, 0] as const, ...rest] = shapes;
  const layers = rest.map(async ([colour, left, side]) => ({
    input: await flat(side, side, colour).png().toBuffer(),
    left,
    top: left,
  }));
  const png = await flat(width, height, ground)
    .composite(await Promise.all(layers))
    .png()
    .toBuffer();
  return `data:image/png;base64,${png.toString("base64")}`;
}

/** A square on a ground, and a mask whose white square overlaps it, as data URLs of PNG files. */
export const PICTURE = await dataUrl(120, 100, [
  ["orange", 0, 0],
  ["navy", 30, 40],
]);
export const MASK = await dataUrl(120, 100, [
  ["black", 0, 0],
  ["white", 20, 35],
]);
