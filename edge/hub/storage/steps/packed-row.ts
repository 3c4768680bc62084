// Steps of a prediction as one row: what readers see of them, their tokens packed, and the lines of the log that follow from them.

import { packStates, unpackStates } from "@vqd/shared/steps/packed.ts";
import type { StoredEvent } from "../../../prediction/records.ts";
import { encodeBase64 } from "../../../util/bytes.ts";
import { isNewPercent, progressLine } from "./tqdm.ts";

/** The type of such a row; that of readers' events is `step`. */
export const PACKED = "steps";

/** Of an attempt and its job: the same for all steps of a row. */
export interface StepContext {
  readonly total: number;
  readonly images: number;
  /** Steps that earlier attempts have made. */
  readonly from: number;
}

export interface RecordedStep {
  readonly step: number;
  readonly timestep: number;
  readonly masked: number;
  /** Since the start of the attempt. */
  readonly elapsedMs: number;
  /** Class ids of all images as uint16 LE. */
  readonly tokens: Uint8Array;
}

export interface StepRun extends StepContext {
  readonly steps: readonly RecordedStep[];
}

type Numbers = readonly [step: number, timestep: number, masked: number, elapsedMs: number];
interface Header extends StepContext {
  readonly size: number;
  readonly steps: readonly Numbers[];
}

const NEWLINE = 0x0a;
const encoder = new TextEncoder();
const decoder = new TextDecoder();

/** A line of JSON, followed by the packed states. */
export function packRow({ total, images, from, steps }: StepRun): Uint8Array<ArrayBuffer> {
  const header: Header = {
    total,
    images,
    from,
    size: steps[0]?.tokens.length ?? 0,
    steps: steps.map(({ step, timestep, masked, elapsedMs }) => [step, timestep, masked, elapsedMs]),
  };
  const line = encoder.encode(`${JSON.stringify(header)}\n`);
  const states = packStates(steps.map(({ tokens }) => tokens));
  const row = new Uint8Array(line.length + states.length);
  row.set(line);
  row.set(states, line.length);
  return row;
}

const headerOf = (row: Uint8Array): { header: Header; rest: Uint8Array } => {
  const end = row.indexOf(NEWLINE);
  return {
    header: JSON.parse(decoder.decode(row.subarray(0, end))) as Header,
    rest: row.subarray(end + 1),
  };
};

export function unpackRow(row: Uint8Array): StepRun {
  const { header, rest } = headerOf(row);
  const { total, images, from, size, steps } = header;
  const states = unpackStates(rest, steps.length, size);
  return {
    total,
    images,
    from,
    steps: steps.map(([step, timestep, masked, elapsedMs], i) => ({
      step,
      timestep,
      masked,
      elapsedMs,
      tokens: states[i] ?? new Uint8Array(),
    })),
  };
}

/** Number of events that readers see of a step: itself, and at a further per cent a line of the log. */
export const eventsOf = (step: number, total: number): number => (isNewPercent(step, total) ? 2 : 1);

/** What readers see of the steps; the last event has the number `last`. */
export function eventsOfRun(run: StepRun, last: number): StoredEvent[] {
  const { total, images, steps } = run;
  let seq = last - steps.reduce((sum, { step }) => sum + eventsOf(step, total), 0);
  return steps.flatMap((one) => {
    const { step, timestep, masked, tokens } = one;
    const data = JSON.stringify({ step, total, timestep, masked, images, tokens: encodeBase64(tokens) });
    const events: StoredEvent[] = [{ seq: ++seq, type: "step", data }];
    if (isNewPercent(step, total)) events.push({ seq: ++seq, type: "logs", data: lineOf(run, one) });
    return events;
  });
}

const lineOf = (
  { total, from }: StepContext,
  { step, elapsedMs }: Pick<RecordedStep, "step" | "elapsedMs">,
) => progressLine({ step, total, from, elapsedSeconds: elapsedMs / 1_000 });

/** The lines of the log that follow from the steps. */
export const linesOfRun = ({ steps, ...context }: StepRun): string =>
  steps
    .filter(({ step }) => isNewPercent(step, context.total))
    .map((one) => lineOf(context, one))
    .join("");

/** The same of a row, whose tokens stay packed. */
export function linesOfRow(row: Uint8Array): string {
  const { header } = headerOf(row);
  return header.steps
    .filter(([step]) => isNewPercent(step, header.total))
    .map(([step, , , elapsedMs]) => lineOf(header, { step, elapsedMs }))
    .join("");
}
