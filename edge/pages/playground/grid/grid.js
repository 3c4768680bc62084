// A grid: ordinary runs of one prompt, a few at a time, whose ids the address keeps.

import { VqdError } from "../../client/index.js";
import { client, local, storedKey } from "../../assets/api.js";
import { byId } from "../../assets/dom.js";
import { askForKey } from "../../assets/key.js";
import { FINAL } from "../follow.js";
import { refreshPace } from "../form/models.js";
import { randomSeed } from "../form/settings.js";
import { refreshHistory } from "../history.js";
import { clearProblem, showError, showProblem } from "../problem.js";
import { reveal } from "../stage/stage.js";
import { openLarge, saveBlob, wordsOf } from "../stage/tools.js";
import { complain, readPlan, settingsOf, writeAxes } from "./axes.js";
import { layOut, toPng } from "./sheet.js";

/** @typedef {import("../../client/types.d.ts").Prediction} Prediction */
/** @typedef {import("./axes.js").Plan} Plan */
/** @typedef {{ id: string, key: string, run?: Prediction | undefined, tile: ReturnType<typeof layOut>[number] }} Place a key makes a request that is sent again the same one */
/**
 * @typedef {object} Grid
 * @property {Plan} plan
 * @property {string} settings
 * @property {Place[]} places
 * @property {AbortController} abort
 * @property {boolean} isLive
 * @property {string} note what else is to be said
 */

/** Runs at once: others wait for the same workers. */
const AT_ONCE = 2;
/** Refusals that pass, and how long to wait where the service does not say. */
const PASSING = new Set([0, 429, 503]);
const WAIT_MS = 3_000;

const makeButton = byId("grid-make", HTMLButtonElement);
const cancelButton = byId("sheet-cancel", HTMLButtonElement);
const restButton = byId("sheet-rest", HTMLButtonElement);
const saveButton = byId("sheet-save", HTMLButtonElement);
const sheet = byId("sheet", HTMLElement);
const progress = byId("sheet-progress", HTMLProgressElement);
const title = byId("sheet-title", HTMLElement);
const text = byId("sheet-text", HTMLElement);

/** Whether there is no image, nor one on its way. @param {Place} place */
const isMissing = ({ id, run }) =>
  id === "" || (run !== undefined && FINAL.includes(run.status) && run.status !== "succeeded");

const randomKey = () => [...crypto.getRandomValues(new Uint32Array(4))].join("-");

/**
 * @param {import("../stage/stage.js").Stage} stage
 * @param {() => void} leaveRun lets go of the run on the stage
 */
export function createGrid(stage, leaveRun) {
  /** @type {Grid | undefined} */
  let grid;

  /** @param {Plan} plan @param {readonly string[]} ids */
  const lay = (plan, ids) => {
    grid?.abort.abort();
    const settings = settingsOf(plan);
    const tiles = layOut(plan, (index) => {
      const { run, tile } = own.places[index] ?? {};
      if (run?.output?.[0] !== undefined)
        openLarge(local(run.output[0]), `${titleOf(own)}: ${tile?.cell.label ?? ""}`, `#run=${run.id}`);
    });
    const places = tiles.map((tile, i) => ({ id: ids[i] ?? "", key: randomKey(), tile }));
    /** @type {Grid} */
    const own = { plan, settings, places, abort: new AbortController(), isLive: false, note: "" };
    grid = own;
    return own;
  };

  /** @param {Grid} own */
  const titleOf = ({ plan }) => String(plan.input["prompt"] ?? plan.model ?? "Grid");

  /** @param {Grid} own */
  const show = (own) => {
    leaveRun();
    reveal("sheet");
    title.textContent = titleOf(own);
    tell(own);
  };

  const addressOf = (/** @type {Grid} */ { settings, places }) =>
    `#grid=${places.map(({ id }) => id).join(".")}&${settings}`;

  /** @param {Grid} own */
  const tell = (own) => {
    if (own !== grid) return;
    const count = own.places.length;
    const ended = own.places.filter(({ run }) => run !== undefined && FINAL.includes(run.status)).length;
    const { activeElement: focused } = document;
    const made = own.places.filter(({ tile }) => tile.image !== undefined).length;
    progress.max = count;
    progress.value = ended;
    progress.hidden = cancelButton.hidden = !own.isLive;
    makeButton.disabled = own.isLive;
    restButton.hidden = own.isLive || !own.places.some(isMissing);
    // What had the focus may be gone.
    if (focused instanceof HTMLButtonElement && focused.hidden) title.focus();
    saveButton.disabled = made === 0;
    const said = own.isLive || made < count ? `${made} of ${count} images` : `Done: ${count} images`;
    text.textContent = own.note === "" ? said : `${said} · ${own.note}`;
    if (sheet.hidden) return;
    document.title = `${made === count ? "✓ " : ""}${titleOf(own)} · grid · vqd`;
    if (location.hash.startsWith("#grid=")) history.replaceState(null, "", addressOf(own));
  };

  /** Asks until the service takes it. @template T @param {Grid} own @param {AbortSignal} signal @param {() => Promise<T>} request @returns {Promise<T>} */
  const ask = async (own, signal, request) => {
    for (;;) {
      signal.throwIfAborted();
      try {
        return await request();
      } catch (error) {
        if (!(error instanceof VqdError) || !PASSING.has(error.status)) throw error;
        const ms = error.retryAfterMs ?? WAIT_MS;
        own.note = `${error.message} · waiting ${Math.ceil(ms / 1_000)} s`;
        tell(own);
        await new Promise((resolve) => setTimeout(resolve, ms));
        if (!signal.aborted) own.note = "";
      }
    }
  };

  /** @param {Grid} own @param {Place} place @param {Prediction} run */
  const settle = async (own, place, run) => {
    place.run = run;
    // It may have expired.
    const url = local(run.output?.[0] ?? "");
    if (run.status !== "succeeded") place.tile.say(run.error ?? run.status);
    else await place.tile.show(url).catch(() => place.tile.say("the image has expired"));
    tell(own);
  };

  /** Makes an image, or reads the run that has made it. @param {Grid} own @param {Place} place @param {AbortSignal} signal */
  const fill = async (own, place, signal) => {
    const { model, input } = own.plan;
    const { tile } = place;
    if (place.id === "") {
      const body = { ...(model === undefined ? {} : { model }), input: { ...input, ...tile.cell.input } };
      const headers = { "idempotency-key": place.key };
      // Not stopped by the signal: what may have been created is canceled by its id.
      place.run = await ask(own, signal, () => client.request("v1/predictions", { body, headers }));
      place.id = place.run?.id ?? "";
      if (signal.aborted) return leave(place);
      tell(own);
      if (place === own.places[0]) void refreshHistory();
    } else {
      place.run = await ask(own, signal, () => client.get(place.id)).catch((error) => {
        if (!(error instanceof VqdError) || error.status !== 404) throw error;
        place.id = "";
        tile.say("deleted");
        return undefined;
      });
    }
    const { run } = place;
    if (run === undefined) return;
    if (FINAL.includes(run.status)) return settle(own, place, run);
    const palette = await client.palette(run.model, run.version).catch(() => undefined);
    for await (const { type, data } of client.events(run, { signal }))
      if (type === "step") tile.step(data, palette);
    await settle(own, place, await ask(own, signal, () => client.get(run.id)));
  };

  /** Cancels the run of a place. @param {Place} place */
  const leave = async (place) => {
    if (place.run === undefined || FINAL.includes(place.run.status)) return;
    try {
      place.run = await client.cancel(place.id);
    } catch (error) {
      // It ends by itself, then.
      if (!(error instanceof VqdError)) throw error;
    }
  };

  /** Fills these places, a few at a time. @param {Grid} own @param {readonly Place[]} wanted */
  const work = async (own, wanted) => {
    const { signal } = own.abort;
    own.isLive = true;
    own.note = "";
    tell(own);
    const queue = [...wanted];
    /** @type {unknown} */
    let failure;
    const take = async () => {
      try {
        for (let place = queue.shift(); place !== undefined && !signal.aborted; place = queue.shift())
          await fill(own, place, signal);
      } catch (error) {
        // The others would be refused, too.
        failure ??= error;
        queue.length = 0;
      }
    };
    await Promise.all(Array.from({ length: AT_ONCE }, take));
    void refreshHistory();
    void refreshPace();
    // What has been canceled may go on anew already.
    if (signal.aborted) return;
    own.isLive = false;
    tell(own);
    if (failure === undefined) stage.announce(text.textContent ?? "");
    else showError(failure);
  };

  const start = () => {
    if (storedKey() === null) return askForKey("An API key is required.");
    const plan = readPlan();
    complain("cells" in plan ? undefined : plan);
    if (!("cells" in plan)) return;
    // All of them have the same one, if they do not differ in that.
    if (![plan.x.field, plan.y?.field].includes("seed")) plan.input["seed"] ??= Number(randomSeed());
    const own = lay(plan, []);
    clearProblem();
    history.pushState(null, "", addressOf(own));
    show(own);
    title.focus();
    void work(own, own.places);
  };

  const cancel = async () => {
    const own = grid;
    if (!own?.isLive) return;
    own.abort.abort(new DOMException("canceled", "AbortError"));
    stage.announce("Canceled");
    own.isLive = false;
    own.note = "canceled";
    await Promise.all(own.places.map(leave));
    for (const place of own.places) {
      if (isMissing(place)) place.tile.say("canceled");
      // It was done before.
      else if (place.run !== undefined && place.tile.image === undefined) await settle(own, place, place.run);
    }
    tell(own);
  };

  const makeRest = () => {
    if (grid === undefined) return;
    grid.abort = new AbortController();
    clearProblem();
    // What was canceled may still have an answer coming.
    grid.places = grid.places.map((place) =>
      isMissing(place) ? { id: "", key: randomKey(), tile: place.tile } : place,
    );
    void work(grid, grid.places.filter(isMissing));
    cancelButton.focus();
  };

  const save = async () => {
    if (grid === undefined) return;
    const name = titleOf(grid);
    saveBlob(await toPng(grid.plan, grid.places, name), `${wordsOf(name)}-grid.png`);
  };

  makeButton.addEventListener("click", start);
  cancelButton.addEventListener("click", () => void cancel());
  restButton.addEventListener("click", makeRest);
  saveButton.addEventListener("click", () => void save());

  return {
    start,
    /** Cancels what the stage shows, if it is a grid. */
    cancel: () => (sheet.hidden ? undefined : cancel()),

    /** Opens a grid by its address, whose settings are in the form already. @param {URLSearchParams} given */
    open(given) {
      const ids = (given.get("grid") ?? "").split(".");
      writeAxes(given);
      const plan = readPlan();
      if (!("cells" in plan) || ids.length !== plan.cells.length) {
        leaveRun();
        return showProblem("This address of a grid is incomplete.");
      }
      // It may go on behind another run.
      if (grid?.settings === settingsOf(plan)) return show(grid);
      const own = lay(plan, ids);
      show(own);
      void work(
        own,
        own.places.filter(({ id }) => id !== ""),
      );
    },
  };
}
