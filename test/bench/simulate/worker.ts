// A simulated worker: the rounds of the real one, with measured times.

import type { Agenda } from "./agenda.ts";

export interface WorkerModel {
  /** Jobs denoised at a time, and images of a pass that jobs share. */
  readonly slots: number;
  /** ms of a pass over 1, 2, ... images; beyond the last by its mean per image. */
  readonly stepMs: readonly number[];
  /** Of one image. */
  readonly decodeMs: number;
  /** Whether there are cores for decoding beside a pass; else the one waits for the other. [false] */
  readonly decodesBeside?: boolean;
  /** From a free slot to a job's first pass on an idle worker. */
  readonly startMs: number;
  /** Rounds that this takes on a busy one, if answers from the network have to wait for a round's end. */
  readonly startRounds: number;
}

export interface SimulatedJob {
  readonly images: number;
  readonly steps: number;
  /** Served before jobs of a lower one. */
  readonly priority: number;
  readonly arrivedAt: number;
  /** First pass; -1 before. */
  startedAt: number;
  completedAt: number;
  /** Steps done, and images that have made the one beyond. */
  step: number;
  ahead: number;
  decoded: number;
}

/** A job's place at a worker. */
interface Place {
  readonly job: SimulatedJob;
  readonly readyAt: number;
  roundsLeft: number;
  /** Images beyond its first in a pass, as the engine counts them to be fair. */
  extras: number;
}

export class SimulatedWorker {
  readonly #model: WorkerModel;
  readonly #agenda: Agenda;
  readonly #onDone: (job: SimulatedJob) => void;
  readonly #onRoom: (worker: SimulatedWorker) => void;
  readonly #places = new Set<Place>();
  #running = false;
  /** Counts failures: a round of an earlier life ends in nothing. */
  #life = 0;
  /** Time spent in passes and decoding, ms. */
  busyMs = 0;

  constructor(
    model: WorkerModel,
    agenda: Agenda,
    /** A job has ended. */
    onDone: (job: SimulatedJob) => void,
    /** It may have room for one more. */
    onRoom: (worker: SimulatedWorker) => void,
  ) {
    this.#model = model;
    this.#agenda = agenda;
    this.#onDone = onDone;
    this.#onRoom = onRoom;
  }

  /** What is denoised is decoded beside the next jobs, but must not pile up. */
  get hasPlace(): boolean {
    const finishing = [...this.#places].filter(({ job }) => job.step >= job.steps).length;
    const { slots } = this.#model;
    return this.#places.size - finishing < slots && finishing <= slots;
  }

  take(job: SimulatedJob): void {
    const { startMs, startRounds } = this.#model;
    const extras = Math.min(...[...this.#places].map((place) => place.extras));
    this.#places.add({
      job,
      readyAt: this.#agenda.now + startMs,
      roundsLeft: this.#running ? startRounds : 0,
      extras: Number.isFinite(extras) ? extras : 0,
    });
    if (!this.#running) this.#round();
  }

  /** Loses all its jobs, which keep the steps that are done. */
  fail(): SimulatedJob[] {
    const lost = [...this.#places].map(({ job }) => job);
    for (const job of lost) [job.ahead, job.decoded] = [0, 0];
    this.#places.clear();
    this.#running = false;
    this.#life++;
    return lost;
  }

  /** One pass over the slots, and one image of each job that is being decoded: beside it, then one in all. */
  #round(): void {
    const { now } = this.#agenda;
    const places = [...this.#places];
    const ready = places.filter((place) => place.roundsLeft <= 0 && place.readyAt <= now);
    const denoising = ready.filter(({ job }) => job.step < job.steps);
    const { decodeMs, decodesBeside = false } = this.#model;
    const finished = ready.filter(({ job }) => job.step >= job.steps);
    const decoding = decodesBeside ? finished.slice(0, 1) : finished;
    this.#running = places.length > 0;
    const life = this.#life;
    if (ready.length === 0) {
      if (!this.#running) return;
      // Nothing to compute: what is awaited arrives without it.
      for (const place of places) place.roundsLeft = 0;
      const wakeAt = Math.min(...places.map(({ readyAt }) => readyAt));
      this.#agenda.after(Math.max(0, wakeAt - now), () => life === this.#life && this.#round());
      return;
    }
    for (const { job } of denoising) if (job.startedAt < 0) job.startedAt = now;
    const dealt = this.#deal(denoising);
    const images = dealt.reduce((sum, count) => sum + count, 0);
    const passMs = images === 0 ? 0 : this.#passMs(images);
    const decodingMs = decodeMs * decoding.length;
    const durationMs = decodesBeside ? Math.max(passMs, decodingMs) : passMs + decodingMs;
    this.#agenda.after(durationMs, () => {
      if (life !== this.#life) return;
      this.busyMs += durationMs;
      for (const place of places) place.roundsLeft--;
      for (const [index, { job }] of denoising.entries()) this.#advance(job, dealt[index] ?? 0);
      for (const { job } of decoding) job.decoded++;
      for (const place of ready) {
        const { job } = place;
        // What takes no time is done with the last step.
        if (decodeMs === 0 && job.step === job.steps) job.decoded = job.images;
        if (job.decoded < job.images) continue;
        this.#places.delete(place);
        job.completedAt = this.#agenda.now;
        this.#onDone(job);
      }
      this.#onRoom(this);
      this.#round();
    });
  }

  #passMs(images: number): number {
    const { stepMs } = this.#model;
    const last = stepMs.at(-1) ?? 0;
    return stepMs[images - 1] ?? (last * images) / stepMs.length;
  }

  #advance(job: SimulatedJob, images: number): void {
    job.ahead += images;
    if (job.ahead < job.images) return;
    job.step++;
    job.ahead = 0;
  }

  /** As gpu-worker/serving/engine.ts deals: each job a slot, what is left to those that had least of it. */
  #deal(places: readonly Place[]): number[] {
    const missing = places.map(({ job }) => job.images - job.ahead);
    if (places.length <= 1) return missing;
    const dealt = missing.map(() => 1);
    let left = this.#model.slots - places.length;
    while (left > 0) {
      let best = -1;
      for (const [index, count] of dealt.entries()) {
        if (count >= (missing[index] ?? 0)) continue;
        const [place, other] = [places[index], places[best]];
        const isFirst = best < 0 || count < (dealt[best] ?? 0);
        const isOwed = count === dealt[best] && (place?.extras ?? 0) < (other?.extras ?? 0);
        if (isFirst || isOwed) best = index;
      }
      if (best < 0) break;
      dealt[best] = (dealt[best] ?? 0) + 1;
      left--;
    }
    for (const [index, place] of places.entries()) place.extras += (dealt[index] ?? 1) - 1;
    return dealt;
  }
}
