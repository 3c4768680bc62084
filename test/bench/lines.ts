// A plain line chart as SVG, with a linear or logarithmic scale on either axis.

export interface Line {
  readonly label: string;
  readonly points: readonly (readonly [x: number, y: number])[];
  readonly color: string;
  readonly dashed?: boolean;
}

export interface Axis {
  readonly label: string;
  readonly ticks: readonly number[];
  readonly log?: boolean;
}

export interface Chart {
  readonly title: string;
  readonly x: Axis;
  readonly y: Axis;
  readonly lines: readonly Line[];
}

const WIDTH = 720;
const HEIGHT = 330;
const [LEFT, RIGHT, TOP, BOTTOM] = [66, 20, 70, 46];
const MAX_LEGEND_STEP = 170;

/** Where a value lies between the first and the last tick, 0 to 1 and beyond. */
function place({ ticks, log = false }: Axis, value: number): number {
  const scale = log ? Math.log : (number: number) => number;
  const [first, last] = [scale(ticks[0] ?? 0), scale(ticks.at(-1) ?? 1)];
  return (scale(value) - first) / (last - first);
}

const escape = (text: string): string => text.replaceAll("&", "&amp;").replaceAll("<", "&lt;");

function drawChart({ title, x, y, lines }: Chart): string {
  const [width, height] = [WIDTH - LEFT - RIGHT, HEIGHT - TOP - BOTTOM];
  const toX = (value: number): number => Math.round(10 * (LEFT + width * place(x, value))) / 10;
  const toY = (value: number): number => Math.round(10 * (TOP + height * (1 - place(y, value)))) / 10;
  const text = (at: readonly [number, number], content: string, more = ""): string =>
    `<text x="${at[0]}" y="${at[1]}" ${more}>${escape(content)}</text>`;
  const grid = [
    ...y.ticks.flatMap((tick) => [
      `<path d="M${LEFT} ${toY(tick)}H${WIDTH - RIGHT}" stroke="#dddddd"/>`,
      text([LEFT - 8, toY(tick) + 4], String(tick), 'text-anchor="end"'),
    ]),
    ...x.ticks.flatMap((tick) => [
      `<path d="M${toX(tick)} ${HEIGHT - BOTTOM}v5" stroke="#888888"/>`,
      text([toX(tick), HEIGHT - BOTTOM + 18], String(tick), 'text-anchor="middle"'),
    ]),
  ];
  const drawn = lines.map(({ points, color, dashed = false }) => {
    const path = points.map(([px, py], i) => `${i === 0 ? "M" : "L"}${toX(px)} ${toY(py)}`).join("");
    const dots = dashed
      ? ""
      : points.map(([px, py]) => `<circle cx="${toX(px)}" cy="${toY(py)}" r="3" fill="${color}"/>`).join("");
    const dash = dashed ? ' stroke-dasharray="5 4"' : "";
    return `<path d="${path}" fill="none" stroke="${color}" stroke-width="2"${dash}/>${dots}`;
  });
  const legend = lines.map(({ label, color, dashed = false }, i) => {
    const left = Math.round(LEFT + i * Math.min(MAX_LEGEND_STEP, width / lines.length));
    const dash = dashed ? ' stroke-dasharray="5 4"' : "";
    return `<path d="M${left} 49h22" stroke="${color}" stroke-width="2"${dash}/>${text([left + 28, 53], label)}`;
  });
  return [
    text([12, 26], title, 'font-size="15"'),
    ...legend,
    ...grid,
    ...drawn,
    text([LEFT + width / 2, HEIGHT - 8], x.label, 'text-anchor="middle"'),
    text(
      [14, TOP + height / 2],
      y.label,
      `text-anchor="middle" transform="rotate(-90 14 ${TOP + height / 2})"`,
    ),
  ].join("\n");
}

/** Charts one below the other, legible on light and dark pages. */
export function drawCharts(charts: readonly Chart[]): string {
  const height = HEIGHT * charts.length;
  return [
    `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${WIDTH} ${height}" font-family="sans-serif" font-size="13">`,
    `<rect width="100%" height="100%" fill="#ffffff"/>`,
    ...charts.map((chart, i) => `<g transform="translate(0 ${i * HEIGHT})">\n${drawChart(chart)}\n</g>`),
    "</svg>\n",
  ].join("\n");
}
