// The picture that an image starts from: chosen, dropped or pasted, and painted over where it is to be made anew.

import { byId, make } from "../../assets/dom.js";

/** Cells of the mask, along each side. */
const CELLS = 16;
const MASKED_STRENGTH = "1";

const section = byId("start", HTMLDetailsElement);
const file = byId("start-file", HTMLInputElement);
const area = byId("start-picture", HTMLElement);
const canvas = byId("start-canvas", HTMLCanvasElement);
const group = byId("cells", HTMLElement);
const strength = byId("start-strength", HTMLInputElement);
const strengthValue = byId("start-strength-value", HTMLOutputElement);

const cells = Array.from({ length: CELLS * CELLS }, (_, i) =>
  make("button", {
    type: "button",
    tabindex: i === 0 ? 0 : -1,
    "aria-pressed": "false",
    "aria-label": `Row ${Math.floor(i / CELLS) + 1}, column ${(i % CELLS) + 1}`,
  }),
);
group.append(...cells);

/** @param {HTMLButtonElement} cell */
const isPainted = (cell) => cell.getAttribute("aria-pressed") === "true";

/** @param {HTMLButtonElement} cell @param {boolean} painted */
function paintCell(cell, painted) {
  // What is painted is made wholly anew, unless the slider says otherwise.
  if (painted && !cells.some(isPainted)) setStrength(MASKED_STRENGTH);
  cell.setAttribute("aria-pressed", String(painted));
}

/** @param {string} value */
function setStrength(value) {
  strength.value = value;
  strengthValue.value = value;
}

function clearCells() {
  for (const cell of cells) cell.setAttribute("aria-pressed", "false");
  setStrength(strength.defaultValue);
}

// Painting: with a pointer from cell to cell, with the keyboard one by one.

/** Whether the pointer paints, or wipes off; undefined while it does neither. @type {boolean | undefined} */
let stroke;
/** @param {PointerEvent} event */
function cellAt({ clientX, clientY }) {
  const found = document.elementFromPoint(clientX, clientY);
  return cells.find((cell) => cell === found);
}
group.addEventListener("pointerdown", (event) => {
  const cell = cellAt(event);
  if (cell === undefined) return;
  stroke = !isPainted(cell);
  paintCell(cell, stroke);
});
group.addEventListener("pointermove", (event) => {
  const cell = stroke === undefined ? undefined : cellAt(event);
  if (cell !== undefined && stroke !== undefined) paintCell(cell, stroke);
});
for (const type of ["pointerup", "pointercancel"]) addEventListener(type, () => (stroke = undefined));
group.addEventListener("click", ({ target, detail }) => {
  // A click of the keyboard: those of a pointer have painted already.
  if (detail === 0 && target instanceof HTMLButtonElement) paintCell(target, !isPainted(target));
});
group.addEventListener("keydown", (event) => {
  const at = cells.findIndex((cell) => cell === document.activeElement);
  const column = at % CELLS;
  const to = {
    ArrowLeft: column > 0 ? at - 1 : at,
    ArrowRight: column < CELLS - 1 ? at + 1 : at,
    ArrowUp: at - CELLS,
    ArrowDown: at + CELLS,
  }[event.key];
  const next = to === undefined ? undefined : cells[to];
  if (at < 0 || next === undefined) return;
  event.preventDefault();
  for (const cell of cells) cell.tabIndex = cell === next ? 0 : -1;
  next.focus();
});

/** Whether there is a picture to start from. */
export const hasStart = () => !area.hidden;

/** @param {boolean} isThere */
function showArea(isThere) {
  area.hidden = !isThere;
  // It is a change of the settings, too.
  section.dispatchEvent(new Event("input", { bubbles: true }));
}

/** Size of the model's images in pixels. */
let size = { width: 256, height: 256 };

/** @param {{ width: number, height: number }} ofModel */
export function setStartSize(ofModel) {
  size = ofModel;
}

/**
 * Starts from a picture: scaled to cover the model's size, its centre. Throws a DOMException for what is no picture.
 * @param {Blob} picture
 */
export async function startFrom(picture) {
  const bitmap = await createImageBitmap(picture);
  canvas.width = size.width;
  canvas.height = size.height;
  const scale = Math.max(size.width / bitmap.width, size.height / bitmap.height);
  const [width, height] = [bitmap.width * scale, bitmap.height * scale];
  const context = canvas.getContext("2d");
  context?.drawImage(bitmap, (size.width - width) / 2, (size.height - height) / 2, width, height);
  bitmap.close();
  clearCells();
  section.open = true;
  showArea(true);
}

export function removeStart() {
  file.value = "";
  clearCells();
  showArea(false);
}

/** The mask: white where cells are painted. */
function maskUrl() {
  const mask = document.createElement("canvas");
  mask.width = size.width;
  mask.height = size.height;
  const context = mask.getContext("2d");
  const [width, height] = [size.width / CELLS, size.height / CELLS];
  context?.fillRect(0, 0, size.width, size.height);
  if (context) context.fillStyle = "white";
  for (const [i, cell] of cells.entries()) {
    if (!isPainted(cell)) continue;
    context?.fillRect((i % CELLS) * width, Math.floor(i / CELLS) * height, width, height);
  }
  return mask.toDataURL("image/png");
}

/** What the input has of it; empty without a picture. @returns {{ image?: string, mask?: string, strength?: number }} */
export function startInput() {
  if (area.hidden) return {};
  return {
    image: canvas.toDataURL("image/png"),
    ...(cells.some(isPainted) ? { mask: maskUrl() } : {}),
    strength: Number(strength.value),
  };
}

/** The picture as it is now; undefined without one. */
export function pictureCopy() {
  if (area.hidden) return undefined;
  const copy = make("canvas", { width: canvas.width, height: canvas.height });
  copy.getContext("2d")?.drawImage(canvas, 0, 0);
  return copy;
}

/**
 * Calls `onPicture` for each picture that is chosen, dropped or pasted.
 * @param {(picture: Blob, isDropped: boolean) => void} onPicture
 */
export function onPictureGiven(onPicture) {
  /** @param {Event} event @param {FileList | undefined} files */
  const take = (event, files) => {
    const picture = [...(files ?? [])].find(({ type }) => type.startsWith("image/"));
    if (picture === undefined) return;
    event.preventDefault();
    onPicture(picture, event.type === "drop");
  };
  file.addEventListener("change", (event) => take(event, file.files ?? undefined));
  addEventListener("dragover", (event) => {
    if (event.dataTransfer?.types.includes("Files")) event.preventDefault();
  });
  addEventListener("drop", (event) => take(event, event.dataTransfer?.files));
  addEventListener("paste", (event) => take(event, event.clipboardData?.files));
}

byId("cells-clear", HTMLButtonElement).addEventListener("click", clearCells);
byId("start-remove", HTMLButtonElement).addEventListener("click", () => {
  removeStart();
  file.focus();
});
