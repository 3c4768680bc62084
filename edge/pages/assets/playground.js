// The playground: turns settings into a prediction, follows it step by step, and shows images to share and reproduce.

import { VqdError } from "../client/index.js";
import { client, local, storedKey } from "./api.js";
import { byId, copyFrom, make } from "./dom.js";
import { createHistory, thumbnailOf } from "./history.js";
import { askForKey, offerKey, onKeyEntered, showKeyState } from "./key.js";
import {
  clearFieldErrors,
  fromFragment,
  readSettings,
  seedOf,
  showFieldErrors,
  showModels,
  showValues,
  toFragment,
  withoutDefaults,
  writeSettings,
} from "./settings.js";
import { SNIPPETS } from "./snippets.js";
import { Stage } from "./stage.js";

const form = byId("settings", HTMLFormElement);
const makeButton = byId("make", HTMLButtonElement);
const cancelButton = byId("cancel", HTMLButtonElement);
const problem = byId("problem", HTMLElement);
const keyPanel = byId("key-panel", HTMLDetailsElement);
const stage = new Stage();

/** The result on display: its settings, for the link, the code and the seed. @type {{ model: string, settings: import("./settings.js").Settings } | undefined} */
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

async function loadModels() {
  if (storedKey() === null) {
    if (!keyPanel.open) askForKey();
    return;
  }
  try {
    showModels(await client.models());
  } catch (error) {
    showError(error);
  }
}

// A run

/** @param {string} model @param {string} version */
async function usePalette(model, version) {
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
  shown = { model, settings };
  byId("result-actions", HTMLElement).hidden = false;
  byId("code", HTMLElement).hidden = false;
  showCode();
}

async function run() {
  if (isRunning) return;
  clearErrors();
  if (storedKey() === null) return askForKey("An API key is required.");
  const { model, input } = readSettings();
  isRunning = true;
  makeButton.disabled = true;
  form.setAttribute("aria-busy", "true");
  try {
    const created = await client.request("v1/predictions", {
      body: { ...(model === undefined ? {} : { model }), input },
    });
    cancelUrl = created.urls.cancel;
    cancelButton.disabled = false;
    stage.start({ images: created.metrics.image_count, prompt: String(created.input.prompt) });
    stage.say(`Waiting for a worker…${placeInQueue(created)}`);
    stage.announce("Waiting for a worker");
    const settings = withoutDefaults(created.input);
    history.replaceState(null, "", `#${toFragment({ ...(model === undefined ? {} : { model }), ...input })}`);
    show(created.model, settings);
    const [image] = await followPrediction(created);
    const ended = await client.request(created.urls.get);
    stage.finish(summary(ended));
    if (ended.status === "succeeded" && image instanceof HTMLImageElement) {
      const files = ended.output.map(local);
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
  void run();
});
form.addEventListener("input", showValues);
form.addEventListener("keydown", (event) => {
  if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) void run();
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
  history.replaceState(null, "", location.pathname);
  byId("prompt", HTMLElement).focus();
});

// The result: link, seed, code, history

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

const tabs = Object.keys(SNIPPETS).map((name) => byId(`tab-${name}`, HTMLButtonElement));
const codeText = byId("code-text", HTMLElement);
function showCode() {
  const tab = tabs.find((candidate) => candidate.getAttribute("aria-selected") === "true");
  if (tab === undefined || shown === undefined) return;
  codeText.textContent = SNIPPETS[tab.id.replace("tab-", "")]?.(shown.model, shown.settings) ?? "";
}
/** @param {HTMLButtonElement} chosen */
function choose(chosen) {
  for (const tab of tabs) {
    tab.setAttribute("aria-selected", String(tab === chosen));
    tab.tabIndex = tab === chosen ? 0 : -1;
  }
  byId("code-panel", HTMLElement).setAttribute("aria-labelledby", chosen.id);
  showCode();
}
for (const [i, tab] of tabs.entries()) {
  tab.addEventListener("click", () => choose(tab));
  tab.addEventListener("keydown", ({ key }) => {
    const to = { ArrowRight: i + 1, ArrowLeft: i - 1 + tabs.length, Home: 0, End: tabs.length - 1 }[key];
    const next = to === undefined ? undefined : tabs[to % tabs.length];
    if (next === undefined) return;
    choose(next);
    next.focus();
  });
}
const copyCode = byId("copy-code", HTMLButtonElement);
copyCode.addEventListener("click", () => void copyFrom(copyCode, codeText.textContent ?? ""));

const past = createHistory(({ model, settings, files, thumbnail }) => {
  if (isRunning) return;
  clearErrors();
  writeSettings({ ...settings, model });
  show(model, settings);
  stage.start({ images: files.length, prompt: String(settings["prompt"]) });
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
