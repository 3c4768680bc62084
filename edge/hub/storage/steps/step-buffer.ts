// Steps that have taken effect and have yet to be written: readers see them from here, and SQLite gets them as few rows.

import { eventsOf, type RecordedStep, type StepContext, type StepRun } from "./packed-row.ts";

/** Bytes of tokens of one prediction that become one row: far less than a row may have. */
const MAX_ROW_BYTES = 512 * 1024;
/** Bytes of tokens of all predictions. */
const MAX_BYTES = 16 * 1024 * 1024;

export interface BufferedSteps extends StepRun {
  /** Number of its last event. */
  readonly last: number;
  /** Number of the event before its first. */
  readonly before: number;
}

interface Buffered extends StepContext {
  readonly steps: RecordedStep[];
  readonly before: number;
  last: number;
  bytes: number;
}

export class StepBuffer {
  readonly #runs = new Map<string, Buffered>();
  #bytes = 0;

  /** Whether a step fits to those of its prediction; otherwise these have to be written first. */
  takes(id: string, { total, images, from }: StepContext, { tokens }: RecordedStep): boolean {
    const run = this.#runs.get(id);
    if (run === undefined) return true;
    const isSame = run.total === total && run.images === images && run.from === from;
    return (
      isSame && run.bytes + tokens.length <= MAX_ROW_BYTES && run.steps[0]?.tokens.length === tokens.length
    );
  }

  /** `eventSeq` is the number of the prediction's last event so far. */
  add(id: string, context: StepContext, step: RecordedStep, eventSeq: number): void {
    const { total, images, from } = context;
    let run = this.#runs.get(id);
    if (run === undefined) {
      run = { total, images, from, steps: [], before: eventSeq, last: eventSeq, bytes: 0 };
      this.#runs.set(id, run);
    }
    run.steps.push(step);
    run.last += eventsOf(step.step, total);
    run.bytes += step.tokens.length;
    this.#bytes += step.tokens.length;
  }

  get isFull(): boolean {
    return this.#bytes > MAX_BYTES;
  }

  ids(): string[] {
    return [...this.#runs.keys()];
  }

  get(id: string): BufferedSteps | undefined {
    return this.#runs.get(id);
  }

  /** Call once they are written, or for a prediction that is gone. Returns a function that puts them back. */
  remove(id: string): () => void {
    const run = this.#runs.get(id);
    if (run === undefined) return () => {};
    this.#bytes -= run.bytes;
    this.#runs.delete(id);
    return () => {
      this.#bytes += run.bytes;
      this.#runs.set(id, run);
    };
  }
}
