// Follows a run on the stage: its place in the queue, its steps and the time that is left, until it has ended.

import { VqdError } from "../client/index.js";
import { client, local } from "../assets/api.js";

/** @typedef {import("../client/types.d.ts").Prediction} Prediction */
/** @typedef {import("./stage/stage.js").Stage} Stage */

const TICK_MS = 1_000;
/** How often it is asked how the run is while there are no events, in ticks. */
const ASK_EVERY = 2;
/** Silence of a running worker that is worth a word. */
const SILENT_MS = 4_000;

export const FINAL = ["succeeded", "failed", "canceled", "aborted"];

/** @param {number} seconds */
export const inSeconds = (seconds) =>
  seconds < 90 ? `${Math.ceil(seconds)} s` : `${Math.round(seconds / 60)} min`;

/** The line that tells how far a run is. */
class ProgressLine {
  #stage;
  /** @type {Prediction["queue"]} */
  #queue;
  /** @type {import("./stage/stage.js").Step | undefined} */
  #step;
  /** The first step of this sitting, and when it came. */
  #first = { step: 0, at: 0 };
  #heardAt = Date.now();
  #isLost = false;
  #isStarted = false;
  #ticks = 0;

  /** @param {Stage} stage @param {Prediction} prediction */
  constructor(stage, { queue, status }) {
    this.#stage = stage;
    this.#queue = queue;
    this.#isStarted = status === "processing";
  }

  /** @param {Prediction} prediction */
  asked({ queue, status }) {
    this.#queue = queue;
    if (status === "starting") this.#isStarted = false;
    this.tell();
  }

  started() {
    this.#isStarted = true;
    this.heard();
  }

  heard() {
    this.#isLost = false;
    this.#heardAt = Date.now();
    this.tell();
  }

  lost() {
    this.#isLost = true;
    this.tell();
  }

  /** @param {import("./stage/stage.js").Step} step */
  stepped(step) {
    if (this.#step === undefined || step.step < this.#step.step)
      this.#first = { step: step.step, at: Date.now() };
    this.#step = step;
    this.#isStarted = true;
    this.heard();
  }

  /** Whether it is time to ask how the run is, since events do not say. */
  tick() {
    this.tell();
    this.#ticks += 1;
    const isQuiet = !this.#isStarted || Date.now() - this.#heardAt > SILENT_MS;
    return isQuiet && !this.#isLost && this.#ticks % ASK_EVERY === 0;
  }

  tell() {
    this.#stage.say([...this.#parts()].join(" · "));
  }

  *#parts() {
    if (this.#isLost) {
      yield "Connection lost; resuming…";
      return;
    }
    const step = this.#step;
    if (step !== undefined) yield this.#stage.describe(step);
    const queue = this.#queue;
    if (!this.#isStarted) {
      yield step === undefined ? "Waiting for a worker" : "waiting to go on";
      if (queue && queue.position > 1) yield `place ${queue.position}`;
      if (queue && queue.eta_seconds !== null && queue.eta_seconds >= 1)
        yield `starts in about ${inSeconds(queue.eta_seconds)}`;
      return;
    }
    if (step === undefined) yield "Started";
    const silence = Date.now() - this.#heardAt;
    if (silence > SILENT_MS && step?.step !== step?.total) {
      yield `no word from the worker for ${inSeconds(silence / 1_000)}: if it is gone, another one continues`;
      return;
    }
    const left = this.#secondsLeft();
    if (left >= 1) yield `${inSeconds(left)} left`;
  }

  #secondsLeft() {
    const { step = 0, total = 0 } = this.#step ?? {};
    const done = step - this.#first.step;
    return done === 0 ? 0 : ((total - step) * (this.#heardAt - this.#first.at)) / done / 1_000;
  }
}

/**
 * Shows the run's events until it has ended, and resolves to the prediction as it is then. Throws a VqdError, and the signal's
 * reason when it aborts.
 * @param {Prediction} prediction
 * @param {Stage} stage
 * @param {AbortSignal} signal
 * @returns {Promise<Prediction>}
 */
export async function followRun(prediction, stage, signal) {
  const line = new ProgressLine(stage, prediction);
  line.tell();
  const ask = async () => {
    try {
      line.asked(await client.request(prediction.urls.get, { signal }));
    } catch (error) {
      // The events tell what is wrong.
      if (!signal.aborted && !(error instanceof VqdError)) throw error;
    }
  };
  const timer = setInterval(() => {
    if (line.tick()) void ask();
  }, TICK_MS);
  try {
    for await (const { type, data } of client.events(prediction, {
      signal,
      onDisconnect: () => line.lost(),
    })) {
      if (type === "started") line.started();
      if (type === "step") {
        stage.addStep(data);
        line.stepped(data);
      }
      // It does not matter if a preview cannot be loaded.
      if (type === "preview") stage.showPartial(data.index, local(data.url)).catch(() => {});
      if (type === "output") stage.showImage(data.index, local(data.url)).catch(() => {});
    }
  } finally {
    clearInterval(timer);
  }
  return client.request(prediction.urls.get, { signal });
}

/**
 * Asks how a shared run is until it has ended: its link brings no events.
 * @param {() => Promise<Prediction>} read
 * @param {Stage} stage
 * @param {AbortSignal} signal
 */
export async function followShared(read, stage, signal) {
  for (;;) {
    const prediction = await read();
    signal.throwIfAborted();
    if (FINAL.includes(prediction.status)) return prediction;
    const { steps, total_steps: total } = prediction.metrics;
    stage.say(steps === 0 ? "Waiting for a worker" : `Step ${steps} of ${total}`);
    await new Promise((resolve) => setTimeout(resolve, ASK_EVERY * TICK_MS));
    signal.throwIfAborted();
  }
}
