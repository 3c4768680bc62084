// Runs on the stage: created, opened by their address, followed and canceled.

import { VqdError } from "../client/index.js";
import { client, local, storedKey } from "../assets/api.js";
import { byId } from "../assets/dom.js";
import { askForKey } from "../assets/key.js";
import { showAnswer, showCode } from "./stage/code.js";
import { showDetails } from "./stage/details.js";
import { seedOf } from "./form/fields.js";
import { FINAL, followRun, followShared } from "./follow.js";
import { keep, keptOf, markCurrent, refreshHistory } from "./history.js";
import { refreshPace } from "./form/models.js";
import { clearProblem, showError, showProblem } from "./problem.js";
import { shortest, writeSettings } from "./form/settings.js";
import { offerSharing, sharedPath } from "./share.js";
import { reveal } from "./stage/stage.js";

/** @typedef {import("../client/types.d.ts").Prediction} Prediction */
/** @typedef {import("./form/fields.js").Settings} Settings */
/** @typedef {{ model: string | undefined, input: Settings, start: object, before?: HTMLCanvasElement | undefined }} Wanted */

const CANCEL_MS = 5_000;
/** A second click on the same button, which is no wish to cancel. */
const DOUBLE_CLICK_MS = 500;
const TITLE = document.title;

const form = byId("settings", HTMLFormElement);
const makeButton = byId("make", HTMLButtonElement);
const panel = byId("run", HTMLElement);

/** What is on the stage. @typedef {{ abort: AbortController, run?: Prediction | undefined, isLive: boolean, since: number, wantsCancel: boolean }} View */

/** @param {import("./stage/stage.js").Stage} stage */
export function createRuns(stage) {
  /** @type {View | undefined} */
  let view;

  /** @param {boolean} isLive */
  const newView = (isLive) => {
    view?.abort.abort();
    clearProblem();
    view = { abort: new AbortController(), isLive, since: Date.now(), wantsCancel: false };
    showButton();
    return view;
  };

  const showButton = () => {
    const isLive = view?.isLive === true;
    makeButton.textContent = isLive ? "Cancel" : "Make it";
    makeButton.classList.toggle("primary", !isLive);
    form.ariaBusy = isLive ? "true" : null;
  };

  /** @param {View} own */
  const settle = (own) => {
    if (view !== own) return;
    own.isLive = false;
    showButton();
  };

  /** @param {string} title */
  const entitle = (title) => (document.title = title === "" ? TITLE : `${title} · vqd`);

  /** @param {Prediction} run @param {{ before?: HTMLCanvasElement | undefined, withKey: boolean }} options */
  const show = (run, { before, withKey }) => {
    reveal("run");
    const prompt = promptOf(run);
    byId("stage-title", HTMLElement).textContent = prompt;
    const captions = (run.input.seeds ?? []).map((seed) => `seed ${seed}`);
    stage.start({ images: run.metrics.image_count, prompt, captions, before, withKey });
    if (withKey) void usePalette(stage, run);
    const settings = shortest(/** @type {any} */ (run.input));
    showCode({ model: run.model, settings });
    showAnswer(run);
    showDetails(run);
    offerSharing(withKey ? run : undefined);
    markCurrent(run.id);
    entitle(prompt);
  };

  /** Shows how it has ended. @param {View} own @param {Prediction} ended @param {boolean} withKey */
  const finish = async (own, ended, withKey) => {
    own.run = ended;
    clearProblem();
    showAnswer(ended);
    showDetails(ended);
    if (withKey) offerSharing(ended);
    const images = await Promise.allSettled(
      (ended.output ?? []).map((url, i) => stage.showImage(i, local(url))),
    );
    if (view !== own) return;
    const isLost = ended.data_removed || images.some(({ status }) => status === "rejected");
    const kept = keptOf(ended.id);
    if (isLost && kept !== undefined) await stage.showImage(0, kept.thumbnail).catch(() => {});
    const text = summary(ended) + (isLost ? " · the images have expired: make them again to see them" : "");
    stage.finish(text);
    entitle(`${ended.status === "succeeded" ? "✓" : "✗"} ${promptOf(ended)}`);
    const [first] = images;
    const image = first?.status === "fulfilled" ? first.value : undefined;
    if (withKey && image !== undefined && kept === undefined && ended.status === "succeeded")
      keep(ended, image);
  };

  /** @param {View} own @param {Prediction} run */
  const follow = async (own, run) => {
    own.run = run;
    await finish(own, await followRun(run, stage, own.abort.signal), true);
    void refreshHistory();
    void refreshPace();
  };

  /** @param {View} own @param {() => Promise<void>} work @param {Prediction} [previous] */
  const attempt = async (own, work, previous) => {
    try {
      await work();
    } catch (error) {
      if (own.abort.signal.aborted) return;
      showError(error);
      if (own.run !== undefined) stage.finish("");
      // What is on the stage still is.
      else if (!panel.hidden) own.run = previous;
    } finally {
      settle(own);
    }
  };

  return {
    get isLive() {
      return view?.isLive === true;
    },
    /** Whether a click may be the second of a double one. */
    get isFresh() {
      return view !== undefined && Date.now() - view.since < DOUBLE_CLICK_MS;
    },
    get current() {
      return view?.run;
    },

    /** Makes what is wanted. @param {Wanted} wanted */
    async create({ model, input, start, before }) {
      if (view?.isLive) return;
      if (storedKey() === null) {
        clearProblem();
        return askForKey("An API key is required.");
      }
      const previous = view?.run;
      const own = newView(true);
      const work = async () => {
        const body = { ...(model === undefined ? {} : { model }), input: { ...input, ...start } };
        const run = await client.request("v1/predictions", { body, signal: own.abort.signal });
        history.pushState(null, "", `#${new URLSearchParams({ run: run.id }).toString()}`);
        show(run, { before, withKey: true });
        stage.announce("Waiting for a worker");
        void refreshHistory();
        own.run = run;
        if (own.wantsCancel) await this.cancel();
        await follow(own, run);
      };
      await attempt(own, work, previous);
    },

    /** Opens a run by its address. @param {string} id @param {string | null} share */
    async open(id, share) {
      if (view?.run?.id === id && share === null) return;
      if (share === null && storedKey() === null)
        return askForKey("An API key is required to open this run.");
      const own = newView(false);
      const { signal } = own.abort;
      const read = () =>
        share === null
          ? client.request(`v1/predictions/${encodeURIComponent(id)}`, { signal })
          : client.request(sharedPath(id, share), { signal, apiKey: null });
      await attempt(own, async () => {
        /** @type {Prediction} */
        let run;
        try {
          run = await read();
        } catch (error) {
          if (!(error instanceof VqdError) || error.status !== 404) throw error;
          return this.showMissing(id, share !== null);
        }
        if (view !== own) return;
        writeSettings({ .../** @type {any} */ (run.input), model: run.model });
        show(run, { withKey: share === null });
        own.run = run;
        if (share !== null) return finish(own, await followShared(read, stage, signal), false);
        own.isLive = !FINAL.includes(run.status);
        showButton();
        await follow(own, run);
      });
    },

    /** Says that a run is gone, with what this browser has kept of it. @param {string} id @param {boolean} isShared */
    async showMissing(id, isShared) {
      const kept = keptOf(id);
      if (kept === undefined) {
        this.close();
        const why = isShared
          ? "The link may have been taken back, or the run deleted."
          : "It may have been deleted, or belong to the owner of another key.";
        return showProblem(`There is no such run. ${why}`);
      }
      reveal("run");
      writeSettings({ ...kept.settings, model: kept.model });
      const prompt = String(kept.settings["prompt"] ?? kept.model);
      byId("stage-title", HTMLElement).textContent = prompt;
      stage.start({ images: 1, prompt, withKey: false });
      showCode({ model: kept.model, settings: kept.settings });
      offerSharing(undefined);
      markCurrent(id);
      await stage.showImage(0, kept.thumbnail).catch(() => {});
      stage.finish("The service has deleted this run: make it again with the same settings");
    },

    /** Back to the start. */
    close() {
      newView(false);
      reveal("starter");
      markCurrent("");
      entitle("");
    },

    /** Cancels what is on the stage, or stops waiting for it if the service does not answer. */
    async cancel() {
      const own = view;
      if (!own?.isLive) return;
      if (own.run === undefined) {
        // Being created: if there is no answer, there is nothing to wait for.
        if (own.wantsCancel) own.abort.abort();
        own.wantsCancel = true;
        makeButton.textContent = "Stop waiting";
        return;
      }
      stage.say("Canceling…");
      try {
        // This also ends the event stream.
        await client.request(own.run.urls.cancel, { method: "POST", signal: AbortSignal.timeout(CANCEL_MS) });
      } catch (error) {
        if (!(error instanceof VqdError) && !(error instanceof DOMException)) throw error;
        if (view !== own) return;
        own.abort.abort();
        settle(own);
        stage.finish(
          "Not followed any more: the service does not answer. If the run goes on, it will be in the history",
        );
      }
    },
  };
}

/** @param {Prediction} run */
const promptOf = ({ input, model }) =>
  [input.prompt ?? (input.image ? "Variation" : model)].flat().join(" · ");

/** @param {import("./stage/stage.js").Stage} stage @param {Prediction} run */
async function usePalette(stage, { model, version }) {
  // That of another model may have another size.
  stage.setPalette(undefined);
  try {
    const palette = await client.palette(model, version);
    stage.setAspect(palette.width, palette.height);
    stage.setPalette(palette);
  } catch (error) {
    if (!(error instanceof VqdError)) throw error;
    // The image is made nevertheless.
    stage.announce("Token preview unavailable");
  }
}

/** @param {Prediction} run */
function summary({ status, error, metrics, input }) {
  if (status === "canceled") return "Canceled";
  if (status !== "succeeded") return `Failed: ${error ?? "no reason given"}`;
  const seconds = metrics.predict_time === undefined ? "" : ` in ${metrics.predict_time.toFixed(1)} s`;
  const cut = metrics.prompt_truncated ? " · the prompt was too long for the model and was truncated" : "";
  const settings = /** @type {any} */ (input);
  return `Done${seconds} · ${metrics.total_steps} steps · seed ${settings[seedOf(settings)]}${cut}`;
}
