// Images side by side, with names.

import sharp, { type OverlayOptions } from "sharp";
import type { RgbImage } from "../../gpu-worker/pipeline/index.ts";

const CELL = 96;

interface Grid {
  readonly columns: readonly string[];
  readonly rows: readonly string[];
  /** By rows. */
  readonly images: readonly RgbImage[];
}

/** A grid of images with names above its columns and beside its rows, as PNG. */
export async function drawGrid({ columns, rows, images }: Grid): Promise<Buffer> {
  const left = rows.some(Boolean) ? 110 : 0;
  const top = columns.some(Boolean) ? 26 : 0;
  const [width, height] = [left + columns.length * CELL, top + rows.length * CELL];
  const text = (content: string, x: number, y: number, anchor: string): string =>
    `<text x="${x}" y="${y}" font-family="sans-serif" font-size="14" text-anchor="${anchor}">${content}</text>`;
  const texts = [
    ...columns.map((name, i) => text(name, left + (i + 0.5) * CELL, 18, "middle")),
    ...rows.map((name, i) => text(name, 4, top + (i + 0.5) * CELL, "start")),
  ];
  const svg = `<svg xmlns="http://www.w3.org/2000/svg" width="${width}" height="${height}">${texts.join("")}</svg>`;
  const overlays: OverlayOptions[] = [{ input: Buffer.from(svg), left: 0, top: 0 }];
  for (const [i, { data, width: w, height: h }] of images.entries()) {
    overlays.push({
      input: await sharp(data, { raw: { width: w, height: h, channels: 3 } })
        .resize(CELL, CELL)
        .png()
        .toBuffer(),
      left: left + (i % columns.length) * CELL,
      top: top + Math.floor(i / columns.length) * CELL,
    });
  }
  return sharp({ create: { width, height, channels: 3, background: "white" } })
    .composite(overlays)
    .png({ palette: true, effort: 10 })
    .toBuffer();
}
