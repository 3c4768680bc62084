// A grid on the stage: a table of images whose rows and columns say what they differ in, and the same as one picture.

import { byId, make } from "../../assets/dom.js";
import { paint } from "../../client/index.js";
import { nameOfAxis } from "./axes.js";

/** @typedef {import("./axes.js").Plan} Plan */

const table = byId("sheet-table", HTMLTableElement);

/** Height of a line of labels in a picture, in pixels. */
const LABEL = 32;
const FONT = "16px system-ui, sans-serif";

/** A place of the grid. */
class Tile {
  element = make("td");
  cell;
  #canvas = make("canvas", { width: 1, height: 1 });
  #button;
  /** The image, once it is there. @type {HTMLImageElement | undefined} */
  image;

  /** @param {Plan["cells"][number]} cell @param {() => void} onOpen */
  constructor(cell, onOpen) {
    this.cell = cell;
    this.#button = make("button", { type: "button", disabled: true }, this.#canvas);
    this.#button.addEventListener("click", onOpen);
    this.element.append(this.#button);
    this.say("waiting");
  }

  /** @param {string} state */
  say(state) {
    this.#button.setAttribute("aria-label", `${this.cell.label}: ${state}`);
    this.#button.title = `${this.cell.label}: ${state}`;
  }

  /** @param {import("../stage/stage.js").Step} step @param {import("../../client/types.d.ts").Palette | undefined} palette */
  step({ step, total, tokens }, palette) {
    const [own] = tokens;
    if (palette !== undefined && own !== undefined) paint(this.#canvas, own, palette);
    this.say(`step ${step} of ${total}`);
  }

  /** Rejects if the image cannot be loaded. @param {string} url */
  async show(url) {
    const image = make("img", { src: url, alt: "" });
    await image.decode();
    this.image = image;
    this.#button.replaceChildren(image);
    this.#button.disabled = false;
    this.say("open large");
  }
}

/** @param {string} scope @param {string} field @param {string} value */
function header(scope, field, value) {
  return make("th", { scope }, make("small", {}, nameOfAxis(field)), " ", value);
}

/**
 * Lays out an empty grid, and returns its places row by row.
 * @param {Plan} plan
 * @param {(index: number) => void} onOpen
 * @returns {Tile[]}
 */
export function layOut({ x, y, cells }, onOpen) {
  const tiles = cells.map((cell, i) => new Tile(cell, () => onOpen(i)));
  const columns = x.values.length;
  const head = make(
    "tr",
    {},
    ...(y === undefined ? [] : [make("td", { class: "corner" })]),
    ...x.values.map((value) => header("col", x.field, value)),
  );
  const rows = (y?.values ?? [""]).map((value, row) =>
    make(
      "tr",
      {},
      ...(y === undefined ? [] : [header("row", y.field, value)]),
      ...tiles.slice(row * columns, (row + 1) * columns).map(({ element }) => element),
    ),
  );
  table.replaceChildren(make("thead", {}, head), make("tbody", {}, ...rows));
  return tiles;
}

/**
 * The whole grid as a PNG file, with its labels; places without an image stay empty.
 * @param {Plan} plan
 * @param {readonly { tile: Tile }[]} places at least one with an image
 * @param {string} title
 * @returns {Promise<Blob>}
 */
export async function toPng({ x, y }, places, title) {
  const canvas = make("canvas");
  const context = canvas.getContext("2d");
  const first = places.find(({ tile }) => tile.image)?.tile.image;
  if (context === null || first === undefined) throw new Error("there is nothing to draw");
  const { naturalWidth: width, naturalHeight: height } = first;
  const [across, down] = [x, y].map(
    (axis) => axis?.values.map((value) => `${nameOfAxis(axis.field)} ${value}`) ?? [],
  );
  context.font = FONT;
  const left = Math.max(0, ...(down ?? []).map((text) => Math.ceil(context.measureText(text).width) + 20));
  canvas.width = left + x.values.length * width;
  canvas.height = 2 * LABEL + (y?.values.length ?? 1) * height;
  context.fillStyle = "white";
  context.fillRect(0, 0, canvas.width, canvas.height);
  context.fillStyle = "black";
  context.font = FONT;
  context.textBaseline = "middle";
  context.fillText(title, 10, LABEL / 2, canvas.width - 20);
  for (const [i, text] of (down ?? []).entries()) context.fillText(text, 10, 2 * LABEL + (i + 0.5) * height);
  context.textAlign = "center";
  for (const [i, text] of (across ?? []).entries())
    context.fillText(text, left + (i + 0.5) * width, 1.5 * LABEL, width - 8);
  for (const [i, { tile }] of places.entries()) {
    const [column, row] = [i % x.values.length, Math.floor(i / x.values.length)];
    if (tile.image)
      context.drawImage(tile.image, left + column * width, 2 * LABEL + row * height, width, height);
  }
  return new Promise((resolve, reject) => {
    canvas.toBlob((blob) => (blob === null ? reject(new Error("too large")) : resolve(blob)));
  });
}
