// Interrupts running jobs in favour of owners that have less running: asks for them, and makes sure that the right one is next.

import { errorFields, type Logger } from "@vqd/shared/log.ts";
import { nextPreemption, type Preemption } from "../admission/preemption.ts";
import type { HubMetrics } from "../metrics.ts";
import { type PredictionRow, STAGE } from "../storage/prediction-row.ts";
import type { HeldJob } from "../storage/queue/job-store.ts";
import type { PredictionStore } from "../storage/store.ts";
import type { HubConnection } from "./connection.ts";
import { deleteJob } from "./queue.ts";

/** For as long as this, a job in the workers' queue may just be on its way to a free slot. */
const GRACE_MS = 100;
/** A worker that does not answer, as in the middle of a long step, may be asked again after this. */
const ANSWER_LIMIT_MS = 5_000;
/** Shortest interval between two looks at what runs. */
const INTERVAL_MS = 20;

export interface PreemptorOptions {
  readonly store: PredictionStore;
  readonly connection: Pick<HubConnection, "open" | "askToYield">;
  readonly dispatcher: {
    storeSequences(): void;
    /** Never rejects. */
    dispatchOne(held: HeldJob): Promise<void>;
  };
  readonly metrics: HubMetrics;
  readonly log: Logger;
  /** Keeps work running after the call that started it. */
  readonly inBackground: (work: Promise<void>) => void;
}

/** A job that has been asked for. */
interface Asked {
  readonly version: string;
  readonly attempt: number;
  readonly beneficiary: string;
  readonly until: number;
}

export class Preemptor {
  readonly #options: PreemptorOptions;
  /** By the victim's id. */
  readonly #asked = new Map<string, Asked>();
  /** Of waiting ones that were put first in the queue: until when nothing else is dispatched before they start. By id. */
  readonly #first = new Map<string, { readonly version: string; readonly until: number }>();
  /** By version: how many were running when something waited in vain. Capacity is not announced but observed. */
  readonly #full = new Map<string, number>();
  /** By version: since when something has been waiting while nothing has started. */
  readonly #waitingSince = new Map<string, number>();
  #checkedAt = 0;
  #timer: number | null = null;

  constructor(options: PreemptorOptions) {
    this.#options = options;
  }

  /** Whether the next free slot is for a job that another one makes room for: nothing else should be dispatched before it. */
  isReserving(version: string): boolean {
    const now = Date.now();
    const isAwaited = (id: string, of: { version: string; until: number }): boolean =>
      of.version === version && of.until > now && this.#isQueued(id);
    return (
      [...this.#asked.values()].some((one) => isAwaited(one.beneficiary, one)) ||
      [...this.#first].some(([id, one]) => isAwaited(id, one))
    );
  }

  /** Call when an attempt has started. */
  noteStarted(row: PredictionRow): void {
    const { store, connection } = this.#options;
    const { version } = row;
    // It was recalled, or handed back, and a worker has started it nevertheless.
    if (row.stage === STAGE.held) connection.askToYield(row);
    if (this.#waitingSince.has(version)) this.#waitingSince.set(version, Date.now());
    const full = this.#full.get(version);
    if (full === undefined) return;
    this.#full.set(version, Math.max(full, store.contention.running(version).length));
  }

  /** Call whenever something waits, or what runs has progressed. Returns immediately. */
  check(): void {
    const wait = this.#checkedAt + INTERVAL_MS - Date.now();
    if (wait > 0) {
      this.#checkIn(wait);
      return;
    }
    this.#checkedAt = Date.now();
    this.#forgetAnswered();
    const versions = this.#options.store.contention.versions();
    for (const version of this.#waitingSince.keys()) {
      if (!versions.includes(version)) this.#waitingSince.delete(version);
    }
    for (const version of versions) this.#checkVersion(version);
  }

  #checkIn(ms: number): void {
    if (this.#timer !== null) return;
    this.#timer = setTimeout(() => {
      this.#timer = null;
      this.check();
    }, ms);
  }

  #checkVersion(version: string): void {
    const { dispatcher, store } = this.#options;
    const { contention } = store;
    const running = contention.running(version);
    if (running.length === 0 || !this.#isFull(version, running.length)) return;
    dispatcher.storeSequences();
    for (let i = 0; i < running.length; i++) {
      const asked = new Map([...this.#asked].map(([victim, { beneficiary }]) => [victim, beneficiary]));
      const waiting = contention.firstWaiting(version);
      const queued = contention.queued(version);
      const next = nextPreemption({ running, waiting, queued, asked, first: new Set(this.#first.keys()) });
      if (next === undefined) return;
      this.#preempt(version, next);
    }
  }

  #isFull(version: string, running: number): boolean {
    if (running >= (this.#full.get(version) ?? Infinity)) return true;
    const now = Date.now();
    const since = this.#waitingSince.get(version) ?? now;
    this.#waitingSince.set(version, since);
    if (now - since < GRACE_MS) {
      this.#checkIn(since + GRACE_MS - now);
      return false;
    }
    this.#full.set(version, running);
    return true;
  }

  #preempt(version: string, { victim, beneficiary, recalled }: Preemption): void {
    const { store, connection, dispatcher, metrics, log, inBackground } = this.#options;
    const until = Date.now() + ANSWER_LIMIT_MS;
    const said = { for: beneficiary.id, recalled: recalled.length };
    if (victim === undefined) {
      this.#first.set(beneficiary.id, { version, until });
      log.info("putting first", said);
    } else {
      const { id, attempt } = victim;
      this.#asked.set(id, { version, attempt, beneficiary: beneficiary.id, until });
      metrics.count("vqd_hub_preemptions_total");
      log.info("interrupting", { prediction: id, attempt, ...said });
    }
    const held = store.queue.heldJob(beneficiary.id);
    store.atomically(() => {
      // First here, then in the queue: one that starts in between is stopped; one that was lost would never start.
      for (const one of recalled) store.queue.recall(one.id);
      if (held !== undefined) store.queue.dispatching(held.id);
    });
    const work = async (): Promise<void> => {
      const session = await connection.open();
      const sequences = recalled.flatMap(({ sequence }) => sequence ?? []);
      await Promise.all(sequences.map((sequence) => deleteJob(session, sequence)));
      if (victim === undefined) return;
      const row = store.get(victim.id);
      if (row?.attempt === victim.attempt) connection.askToYield(row);
    };
    inBackground(
      work()
        .catch((error: unknown) =>
          log.warn("cannot interrupt yet", { prediction: victim?.id, ...errorFields(error) }),
        )
        .then(() => (held === undefined ? undefined : dispatcher.dispatchOne(held))),
    );
  }

  /** What has been handed back, or has ended, no longer counts as asked for, once the other one has its slot. */
  #forgetAnswered(): void {
    const now = Date.now();
    for (const [id, { attempt, beneficiary, until }] of this.#asked) {
      const row = this.#options.store.get(id);
      const isRunning = row?.stage === STAGE.running && row.completedAt === null && row.attempt === attempt;
      if (now >= until || (!isRunning && !this.#isQueued(beneficiary))) this.#asked.delete(id);
    }
    for (const id of this.#first.keys()) if (!this.#isQueued(id)) this.#first.delete(id);
  }

  #isQueued(id: string): boolean {
    const row = this.#options.store.get(id);
    return row !== undefined && row.completedAt === null && row.stage === STAGE.queued;
  }
}
