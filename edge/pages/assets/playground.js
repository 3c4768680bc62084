// The playground: turns settings into a prediction, follows it step by step, and shows images to share and reproduce.

import { VqdError } from "../client/index.js";
import { client, local, storedKey } from "./api.js";
import { byId, copyFrom, make } from "./dom.js";
import { showCode } from "./code.js";
import { createHistory, thumbnailOf } from "./history.js";
import { askForKey, offerKey, onKeyEntered, showKeyState } from "./key.js";
import { onPictureGiven, pictureCopy, removeStart, setStartSize, startFrom, startInput } from "./start.js";
import {
  changesSince,
  clearFieldErrors,
  fromFragment,
  readSettings,
  seedOf,
  showFieldErrors,
  showModels,
  showValues,
  suggestClasses,
  toFragment,
  withoutDefaults,
  writeSettings,
} from "./settings.js";
import { Stage } from "./stage.js";

const form = byId("settings", HTMLFormElement);
const makeButton = byId("make", HTMLButtonElement);
const cancelButton = byId("cancel", HTMLButtonElement);
const problem = byId("problem", HTMLElement);
const keyPanel = byId("key-panel", HTMLDetailsElement);
const stage = new Stage();

/**
 * A result: its settings, for the link, the code and the seed; of one that has just been made its id and its first image.
 * @typedef {{ model: string, settings: import("./settings.js").Settings, id?: string, file?: string | undefined }} Result
 */

/** The result on display. @type {Result | undefined} */
let shown;
let isRunning = false;
/** @type {string | undefined} */
let cancelUrl;

// Errors

/** @param {unknown} error */
function showError(error) {
  if (!(error instanceof VqdError)) throw error;
  if (error.status === 401)
    return askForKey(storedKey() === null ? "An API key is required." : "This API key is invalid.");
  const rest = showFieldErrors(error.errors);
  const isShown = error.errors.length > 0 && rest.length === 0;
  if (isShown) return;
  const id = error.requestId === "" ? undefined : make("small", {}, `Request ${error.requestId}`);
  problem.replaceChildren(error.message, ...(id === undefined ? [] : [id]));
  problem.hidden = false;
}

function clearErrors() {
  problem.hidden = true;
  clearFieldErrors();
}

// The models

const modelSelect = byId("model", HTMLSelectElement);
/** @type {any[]} */
let models = [];

/** Pictures to start from have the size of the chosen model's. */
function fitPictures() {
  const limits = models.find(({ id }) => id === modelSelect.value)?.limits;
  if (limits) setStartSize({ width: limits.image_width, height: limits.image_height });
}
modelSelect.addEventListener("change", fitPictures);

async function loadModels() {
  if (storedKey() === null) {
    if (!keyPanel.open) askForKey();
    return;
  }
  try {
    models = await client.models();
    showModels(models);
    fitPictures();
    await loadClasses();
  } catch (error) {
    showError(error);
  }
}

modelSelect.addEventListener("change", () => void loadClasses());

/** Suggestions are a help: without them, classes can be typed. */
async function loadClasses() {
  suggestClasses({});
  const model = models.find(({ id }) => id === modelSelect.value);
  if (model?.conditioning !== "class") return;
  try {
    const { id2label } = await client.request(`v1/models/${model.id}/classes`);
    if (modelSelect.value === model.id) suggestClasses(id2label);
  } catch {
    stage.announce("Suggestions unavailable");
  }
}

// A run

/** @param {string} model @param {string} version */
async function usePalette(model, version) {
  // That of another model may have another size.
  stage.setPalette(undefined);
  try {
    const palette = await client.palette(model, version);
    stage.setAspect(palette.width, palette.height);
    stage.setPalette(palette);
  } catch {
    // The image is made nevertheless.
    stage.announce("Token preview unavailable");
  }
}

/** @param {any} prediction */
async function followPrediction(prediction) {
  const { model, version } = prediction;
  void usePalette(model, version);
  /** @type {Promise<unknown>[]} */
  const images = [];
  const onDisconnect = () => stage.say("Connection lost; resuming…");
  for await (const { type, data } of client.events(prediction, { onDisconnect })) {
    if (type === "started") stage.say("Started");
    if (type === "step") stage.addStep(data);
    // It does not matter if a preview cannot be loaded.
    if (type === "preview") stage.showPartial(data.index, local(data.url)).catch(() => {});
    if (type === "output") images.push(stage.showImage(data.index, local(data.url)));
  }
  return Promise.all(images);
}

/** @param {any} prediction */
function placeInQueue({ queue }) {
  if (!queue || queue.position < 2) return "";
  const seconds = queue.eta_seconds === null ? "" : `, about ${Math.ceil(queue.eta_seconds)} s`;
  return ` Position ${queue.position} in the queue${seconds}`;
}

/** @param {any} prediction */
function summary({ status, error, metrics, input }) {
  if (status === "canceled") return "Canceled";
  if (status !== "succeeded") return `Failed: ${error ?? "no reason given"}`;
  const seconds = metrics.predict_time === undefined ? "" : ` in ${metrics.predict_time.toFixed(1)} s`;
  const cut = metrics.prompt_truncated ? " · the prompt was too long for the model and was truncated" : "";
  return `Done${seconds} · ${metrics.total_steps} steps · seed ${input[seedOf(input)]}${cut}`;
}

/** @param {string} model @param {import("./settings.js").Settings} settings */
function show(model, settings) {
  /** @type {Result} */
  const result = { model, settings };
  shown = result;
  byId("start-here", HTMLElement).hidden = true;
  byId("result-actions", HTMLElement).hidden = false;
  byId("code", HTMLElement).hidden = false;
  showCode(result);
  return result;
}

/** What the form asks for, with the picture that it starts from. */
function asked() {
  const { model, input } = readSettings();
  const start = startInput();
  // A picture can be varied without a prompt.
  if (start.image !== undefined && input["prompt"] === "") delete input["prompt"];
  return { model, input, start, before: pictureCopy() };
}

/** @param {{ model: string | undefined, input: import("./settings.js").Settings, start: object, before?: HTMLCanvasElement | undefined }} wanted */
async function run({ model, input, start, before }) {
  if (isRunning) return;
  clearErrors();
  if (storedKey() === null) return askForKey("An API key is required.");
  isRunning = true;
  makeButton.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    const created = await client.request("v1/predictions", {
      body: { ...(model === undefined ? {} : { model }), input: { ...input, ...start } },
    });
    cancelUrl = created.urls.cancel;
    cancelButton.disabled = false;
    const nameless = "image" in start ? "Variation" : created.model;
    const prompt = String(created.input.prompt ?? nameless);
    stage.start({ images: created.metrics.image_count, prompt, before });
    stage.say(`Waiting for a worker…${placeInQueue(created)}`);
    stage.announce("Waiting for a worker");
    const settings = withoutDefaults(created.input);
    history.replaceState(null, "", `#${toFragment({ ...(model === undefined ? {} : { model }), ...input })}`);
    const result = show(created.model, settings);
    result.id = created.id;
    const [image] = await followPrediction(created);
    const ended = await client.request(created.urls.get);
    stage.finish(summary(ended));
    if (ended.status === "succeeded" && image instanceof HTMLImageElement) {
      const files = ended.output.map(local);
      result.file = files[0];
      byId("start-here", HTMLElement).hidden = false;
      if (typeof settings["prompt"] === "string" || Object.keys(start).length === 0)
        past.add({ id: ended.id, model: ended.model, settings, files, thumbnail: thumbnailOf(image) });
    }
  } catch (error) {
    if (error instanceof DOMException) stage.finish("The image could not be loaded");
    else showError(error);
  } finally {
    isRunning = false;
    cancelUrl = undefined;
    makeButton.disabled = false;
    // A button loses the focus when it is disabled.
    if (document.activeElement === cancelButton || document.activeElement === document.body)
      makeButton.focus();
    cancelButton.disabled = true;
    form.removeAttribute("aria-busy");
  }
}

async function cancel() {
  if (cancelUrl === undefined) return;
  stage.say("Canceling…");
  // This also ends the event stream.
  await client.request(cancelUrl, { method: "POST" }).catch(showError);
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  void run(asked());
});
form.addEventListener("input", showValues);
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void run(asked());
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "Escape") return;
  if (keyPanel.open) {
    keyPanel.open = false;
    byId("key-state", HTMLElement).closest("summary")?.focus();
  } else void cancel();
});
cancelButton.addEventListener("click", () => void cancel());
byId("reset", HTMLButtonElement).addEventListener("click", () => {
  writeSettings({});
  removeStart();
  history.replaceState(null, "", location.pathname);
  byId("prompt", HTMLElement).focus();
});

// The result: link, seed, code, history

byId("fork", HTMLButtonElement).addEventListener("click", () => {
  const step = stage.replayedStep;
  if (shown?.id === undefined || step === undefined) return;
  const start = { from: { prediction: shown.id, step } };
  void run({ model: undefined, input: changesSince(shown.settings), start });
});

/** @param {Blob} picture */
async function usePicture(picture) {
  try {
    await startFrom(picture);
    stage.announce("Picture added");
  } catch {
    problem.replaceChildren("This file is not a picture that the browser can show.");
    problem.hidden = false;
  }
}
onPictureGiven((picture) => void usePicture(picture));
/** @param {string} file */
async function useResult(file) {
  try {
    await usePicture(await (await fetch(file)).blob());
    byId("start-file", HTMLElement).focus();
  } catch {
    stage.announce("The image could not be loaded");
  }
}
byId("start-here", HTMLButtonElement).addEventListener("click", () => {
  if (shown?.file !== undefined) void useResult(shown.file);
});

const shareButton = byId("share", HTMLButtonElement);
shareButton.addEventListener("click", () => {
  if (shown === undefined) return;
  const url = new URL(document.baseURI);
  url.hash = toFragment({ ...shown.settings, model: shown.model });
  void copyFrom(shareButton, url.href);
});
byId("keep-seed", HTMLButtonElement).addEventListener("click", () => {
  const seed = byId("seed", HTMLInputElement);
  seed.value = String(shown?.settings[seedOf(shown.settings)] ?? "");
  seed.focus();
});

const past = createHistory(({ model, settings, files, thumbnail }) => {
  if (isRunning) return;
  clearErrors();
  writeSettings({ ...settings, model });
  show(model, settings);
  stage.start({ images: files.length, prompt: String(settings["prompt"] ?? model) });
  stage.finish(`From the history · seed ${String(settings[seedOf(settings)])}`);
  for (const [i, file] of files.entries()) {
    stage.showImage(i, file).catch(() => {
      stage.finish("The image has expired; generate it again with the same settings");
      return i === 0 ? stage.showImage(i, thumbnail) : undefined;
    });
  }
  byId("stage-title", HTMLElement).scrollIntoView({ block: "nearest" });
});

// Links: a key in the fragment is removed from the address bar and offered; settings stay there.

/** @returns {Promise<void>} */
async function readAddress() {
  const given = new URLSearchParams(location.hash.slice(1));
  const key = given.get("key");
  if (key !== null) {
    given.delete("key");
    const rest = given.toString();
    history.replaceState(null, "", rest === "" ? location.pathname : `#${rest}`);
  }
  if (given.size > 0) writeSettings(fromFragment(given.toString()));
  showKeyState();
  if (key !== null) await offerKey(key);
}

addEventListener("hashchange", () => void readAddress().then(loadModels));
onKeyEntered(() => {
  void loadModels();
  byId("prompt", HTMLElement).focus();
});
showValues();
void readAddress().then(loadModels);
