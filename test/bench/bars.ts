// A plain bar chart as SVG.

export interface Bar {
  readonly label: string;
  readonly value: number;
}

const WIDTH = 720;
const LEFT = 190;
const RIGHT = 70;
const ROW = 30;
const TOP = 44;
const BOTTOM = 32;

/** Horizontal bars from zero, in the order given, legible on light and dark pages; `note` stands below them. */
export function drawBars(title: string, note: string, bars: readonly Bar[]): string {
  const largest = Math.max(...bars.map(({ value }) => value));
  const height = TOP + bars.length * ROW + BOTTOM;
  const rows = bars.map(({ label, value }, i) => {
    const y = TOP + i * ROW;
    const length = Math.round(((WIDTH - LEFT - RIGHT) * value) / largest);
    return [
      `<text x="${LEFT - 10}" y="${y + 15}" text-anchor="end">${label}</text>`,
      `<rect x="${LEFT}" y="${y}" width="${length}" height="20" fill="#e8862e"/>`,
      `<text x="${LEFT + length + 8}" y="${y + 15}">${Math.round(value)}</text>`,
    ].join("");
  });
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    `<text x="12" y="26" font-size="15">${title}</text>`,
    ...rows,
    `<text x="12" y="${height - 12}" font-size="11">${note}</text>`,
    "</svg>\n",
  ].join("\n");
}
