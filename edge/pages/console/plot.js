// Bars by day, as SVG. The table beside it is for those who cannot see them.

const NS = "http://www.w3.org/2000/svg";
const HEIGHT = 200;
const [LEFT, BOTTOM, TOP] = [52, 24, 12];
/** Px that the name of a day takes. */
const NAME_WIDTH = 70;

/**
 * @param {string} name
 * @param {Record<string, string | number>} attributes
 * @param {...(Node | string)} children
 */
function svg(name, attributes, ...children) {
  const element = document.createElementNS(NS, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, String(value));
  element.append(...children);
  return element;
}

/** The least round number that is at least `most`. @param {number} most */
function roundUp(most) {
  const power = 10 ** Math.floor(Math.log10(most));
  return [1, 1.5, 2, 2.5, 3, 4, 5, 6, 8, 10].map((step) => step * power).find((top) => top >= most) ?? most;
}

/** @param {string} date */
const dayOf = (date) =>
  new Date(`${date}T00:00Z`).toLocaleDateString([], { day: "numeric", month: "short", timeZone: "UTC" });

/**
 * @param {{ date: string, value: number }[]} days in order, none left out
 * @param {number} width px
 * @param {string} label what is counted
 * @param {(value: number) => string} tell
 */
export function plotOf(days, width, label, tell) {
  const most = Math.max(0, ...days.map(({ value }) => value));
  const top = most === 0 ? 1 : roundUp(most);
  const height = HEIGHT - TOP - BOTTOM;
  const step = (width - LEFT) / days.length;
  const y = (/** @type {number} */ value) => TOP + height * (1 - value / top);
  const every = Math.ceil((NAME_WIDTH * days.length) / (width - LEFT));
  const lines = [0, top / 2, top].map((value) =>
    svg(
      "g",
      {},
      svg("line", { x1: LEFT, x2: width, y1: y(value), y2: y(value), class: "rule" }),
      svg(
        "text",
        { x: LEFT - 8, y: y(value) + 4, "text-anchor": "end" },
        most === 0 && value > 0 ? "" : tell(value),
      ),
    ),
  );
  const bars = days.map(({ date, value }, i) => {
    const tall = value === 0 ? 0 : Math.max(2, (height * value) / top);
    const gap = Math.min(6, step / 4);
    return svg(
      "rect",
      {
        x: LEFT + i * step + gap / 2,
        y: TOP + height - tall,
        width: step - gap,
        height: tall,
        rx: Math.min(3, tall / 2),
      },
      svg("title", {}, `${dayOf(date)}: ${tell(value)}`),
    );
  });
  const last = days.length - 1;
  const names = days.flatMap(({ date }, i) => {
    if ((last - i) % every !== 0) return [];
    const place =
      i === last
        ? { x: width, "text-anchor": "end" }
        : { x: LEFT + (i + 0.5) * step, "text-anchor": "middle" };
    return [svg("text", { ...place, y: HEIGHT - 6 }, dayOf(date))];
  });
  const peak = days.find(({ value }) => value === most && value > 0);
  const said = peak === undefined ? "none" : `most on ${dayOf(peak.date)}, ${tell(peak.value)}`;
  return svg(
    "svg",
    {
      viewBox: `0 0 ${width} ${HEIGHT}`,
      class: "plot",
      role: "img",
      "aria-label": `${label} by day: ${said}`,
    },
    ...lines,
    ...bars,
    ...names,
  );
}
