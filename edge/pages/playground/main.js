// The playground: turns settings into runs, and the address into what is on the stage.

import { local, storedKey } from "../assets/api.js";
import { byId, copyFrom } from "../assets/dom.js";
import { askForKey, closeKeyPanel, offerKey, onKeyEntered, showKeyState } from "../assets/key.js";
import { createTabs } from "../assets/tabs.js";
import { control, form, seedOf } from "./form/fields.js";
import { createGrid } from "./grid/grid.js";
import { refreshHistory } from "./history.js";
import { loadClasses, loadModels, onModel } from "./form/models.js";
import { settingsOfPng } from "./form/png-settings.js";
import { showError, showProblem } from "./problem.js";
import { createRuns } from "./runs.js";
import {
  changesSince,
  fromFragment,
  readSettings,
  showValues,
  toFragment,
  writeSettings,
} from "./form/settings.js";
import { Stage } from "./stage/stage.js";
import { onPictureGiven, pictureCopy, removeStart, startFrom, startInput } from "./form/start.js";
import { showSuggestions } from "./stage/starter.js";
import { compareWith } from "./stage/compare.js";
import { copyImage, fileNameOf, openLarge, read, save } from "./stage/tools.js";
import { loadWords, mark } from "./form/words.js";

const stage = new Stage((tool, index) => void useTool(tool, index));
const runs = createRuns(stage);
const grid = createGrid(stage, () => runs.close());

// The form

/** What the form asks for, with the picture that it starts from. */
function asked() {
  const { model, input } = readSettings();
  const start = startInput();
  // A picture can be varied without a prompt.
  if (start.image !== undefined && input["prompt"] === "") delete input["prompt"];
  return { model, input, start, before: pictureCopy() };
}

/** Makes what the form asks for; a key that is entered first is not a reason to ask again. */
let makesOnceKnown = false;
function makeIt() {
  makesOnceKnown = storedKey() === null;
  void runs.create(asked());
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  if (!runs.isLive) makeIt();
  else if (!runs.isFresh) void runs.cancel();
});
form.addEventListener("input", showValues);
form.addEventListener("keydown", (event) => {
  const { key, target, shiftKey, isComposing } = event;
  const isText = target instanceof HTMLInputElement || target instanceof HTMLTextAreaElement;
  if (key !== "Enter" || !isText || shiftKey || isComposing) return;
  // Otherwise it would press the button, which may say Cancel.
  event.preventDefault();
  if (target.closest("#grid") === null) makeIt();
  else grid.start();
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape" || document.querySelector("dialog[open]") !== null) return;
  if (closeKeyPanel()) return;
  void runs.cancel();
  void grid.cancel();
});
byId("reset", HTMLButtonElement).addEventListener("click", () => {
  writeSettings({});
  removeStart();
  mark();
  byId("prompt", HTMLElement).focus();
});
const settingsLink = byId("settings-link", HTMLButtonElement);
settingsLink.addEventListener("click", () => {
  const { model, input } = readSettings();
  const url = new URL(document.baseURI);
  url.hash = toFragment({ ...input, model });
  void copyFrom(settingsLink, url.href);
});

// Where there is room, settings are a column beside the stage.
const wide = matchMedia("(min-width: 1400px)");
const showDrawer = () => (byId("more", HTMLDetailsElement).open = wide.matches);
wide.addEventListener("change", showDrawer);
showDrawer();

// The stage

createTabs(byId("views", HTMLElement), (tab) => {
  for (const name of ["image", "api", "details"])
    byId(`panel-${name}`, HTMLElement).hidden = tab.id !== `view-${name}`;
});
byId("fork", HTMLButtonElement).addEventListener("click", () => {
  const step = stage.replayedStep;
  const run = runs.current;
  if (run === undefined || step === undefined) return;
  const start = { from: { prediction: run.id, step } };
  void runs.create({ model: undefined, input: changesSince(/** @type {any} */ (run.input)), start });
});

/** @param {import("./stage/tile.js").Tool} tool @param {number} index */
async function useTool(tool, index) {
  const run = runs.current;
  const file = run?.output?.[index];
  if (run === undefined || file === undefined || file === null) return;
  const url = local(file);
  const input = /** @type {import("./form/fields.js").Settings} */ (run.input);
  const given = input[seedOf(input)];
  const seed = Array.isArray(given) ? given[index] : given;
  const prompt = String(input["prompt"] ?? run.model);
  const which = run.metrics.image_count === 1 ? "" : `, image ${index + 1}`;
  try {
    if (tool === "open") openLarge(url, prompt);
    if (tool === "copy") stage.finish(await copyImage(url));
    if (tool === "save")
      await save(url, fileNameOf({ prompt, seed, index, count: run.metrics.image_count, url }));
    if (tool === "compare") {
      const said = compareWith({ url, title: `${prompt}, seed ${String(seed)}${which}` });
      if (said !== undefined) stage.finish(said);
    }
    if (tool === "seed") {
      const element = byId("seed", HTMLInputElement);
      element.value = String(seed ?? "");
      element.dispatchEvent(new Event("input", { bubbles: true }));
      element.focus();
    }
    if (tool === "edit") {
      await usePicture(await read(url));
      byId("start-file", HTMLElement).focus();
    }
    if (tool === "vary") {
      await startFrom(await read(url));
      byId("seed", HTMLInputElement).value = "";
      const wanted = asked();
      // It is this variation's alone.
      removeStart();
      void runs.create(wanted);
    }
  } catch (error) {
    if (!(error instanceof DOMException)) throw error;
    showProblem("The image could not be loaded: it may have expired.");
  }
}

// Pictures

/** @param {Blob} picture */
async function usePicture(picture) {
  try {
    await startFrom(picture);
    byId("more", HTMLDetailsElement).open = true;
    stage.announce("Picture added");
  } catch {
    showProblem("This file is not a picture that the browser can show.");
  }
}
/** @param {Blob} picture @param {boolean} isDropped */
async function takePicture(picture, isDropped) {
  // A file of this service brings its settings.
  const settings = isDropped ? await settingsOfPng(picture) : undefined;
  if (settings === undefined) return usePicture(picture);
  writeSettings(settings);
  mark();
  stage.announce("Settings restored from the file");
  byId("prompt", HTMLElement).focus();
}
onPictureGiven((picture, isDropped) => void takePicture(picture, isDropped));

// The model: its prompts, its words, its classes

onModel((model) => {
  byId("model-note", HTMLElement).textContent = model.card.note;
  void showSuggestions(model, choose);
  void loadWords(model);
  loadClasses(model).catch(() => stage.announce("Suggestions unavailable"));
});

/** Makes a suggestion, as on its picture. @param {import("./stage/starter.js").Suggestion} suggestion */
function choose({ prompt, seed }) {
  const element = control("prompt");
  if (element === undefined) return;
  element.value = prompt;
  mark();
  const wanted = asked();
  makesOnceKnown = storedKey() === null;
  void runs.create(seed === undefined ? wanted : { ...wanted, input: { ...wanted.input, seed } });
}

// The address: a key is removed from it and offered; a run is opened; settings are filled in.

async function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const key = given.get("key");
  if (key !== null) {
    given.delete("key");
    const rest = given.toString();
    history.replaceState(null, "", rest === "" ? location.pathname : `#${rest}`);
  }
  const settings = fromFragment(given);
  if (Object.keys(settings).length > 0) {
    writeSettings(settings);
    mark();
  }
  showKeyState();
  if (key !== null) await offerKey(key);
  await useKey();
}

/** What a key makes possible: the models, the history, and the run that the address names. */
async function useKey() {
  const given = new URLSearchParams(location.hash.slice(1));
  const [run, share] = [given.get("run"), given.get("share")];
  let isUsable = storedKey() !== null;
  if (isUsable) {
    const models = loadModels().catch((error) => {
      isUsable = false;
      showError(error);
    });
    await Promise.all([models, refreshHistory()]);
    // The question for another key is open.
    if (!isUsable) return false;
  }
  if (run !== null) await runs.open(run, share);
  else if (given.has("grid") && isUsable) grid.open(given);
  else if (given.has("grid")) askForKey("An API key is required to open this grid.");
  else runs.close();
  return isUsable;
}

addEventListener("hashchange", () => void readAddress());
async function useNewKey() {
  if (!(await useKey())) return;
  if (makesOnceKnown) makeIt();
  else byId("prompt", HTMLElement).focus();
}
onKeyEntered(() => void useNewKey());
showValues();
void showSuggestions(undefined, choose);
void readAddress();
