// What an attempt says of its job, however that travels.

import { VqdError } from "@vqd/shared/errors.ts";
import type { JobState, PredictionEvent } from "@vqd/shared/events.ts";

/** An event without the fields that the publisher adds. */
type DistributiveOmit<T, K extends PropertyKey> = T extends unknown ? Omit<T, K> : never;
export type EventBody = DistributiveOmit<PredictionEvent, "v" | "attempt" | "at">;
export type StepBody = Extract<EventBody, { type: "step" }>;
export type StartedBody = Extract<EventBody, { type: "started" }>;

/** A state to continue from. */
export interface ResumePoint {
  /** Steps done. */
  readonly step: number;
  /** Class ids of all images, one after the other. */
  readonly tokens: Uint16Array;
}

export interface Claim {
  readonly resume: ResumePoint | undefined;
  readonly images: number;
  /** Said with the claim, or after it; undefined for an attempt that is given up before it starts. */
  readonly started: StartedBody | undefined;
}

/** What all attempts need to know of their job to say something of it. */
export interface ReporterOptions {
  readonly attempt: number;
  readonly numericsId: string;
  /** Earlier attempts that have begun since the last step was completed. */
  readonly startsBefore: number;
  /** All earlier attempts. */
  readonly claimsBefore: number;
  /** Called when another attempt has taken over the job. */
  readonly onReplaced: () => void;
  /** Largest message that the server accepts, in bytes. */
  readonly maxPayload: () => number;
  /** Ends the retries: nothing is published for a job that this worker no longer holds. */
  readonly signal: AbortSignal;
}

/**
 * The event stream of one attempt. All methods but `claim`, `flush`, `yield` and `finish` return immediately, so that the next step
 * can be computed meanwhile. What fails to be sent is sent again until it is confirmed or the signal aborts, so events take effect
 * exactly once and in order.
 */
export interface JobReporter {
  readonly attempt: number;
  /**
   * Claims the job: stores that an attempt begins from the state that an earlier one has left, so that the next attempt knows of this
   * one even if it dies silently. Nothing but an end may be published before this. False if another attempt has written in the meantime, or when
   * `signal` aborts.
   */
  claim(claim: Claim, signal: AbortSignal): Promise<boolean>;
  /** Queues one event, with the `attachment` that events.ts specifies for its type. Throws a VqdError (output_too_large). */
  publish(body: EventBody, attachment?: Uint8Array): void;
  /** Queues a step and the state after it; a stored state is never ahead of what readers have seen. */
  publishStep(body: StepBody, tokens: Uint16Array): void;
  /** Stores that this attempt was given up through no fault of the job, so that it does not count. */
  withdraw(): void;
  /**
   * Gives the job back to its hub, which has asked for it: stores the state, and says so. Rejects if another attempt has taken over;
   * then nothing is said.
   */
  yield(predictSeconds: number): Promise<void>;
  /** Queues the current state for storing, unless that has been done. */
  saveState(): void;
  /** Resolves when everything queued so far is confirmed; rejects with the signal's reason when it aborts. */
  flush(): Promise<void>;
  /**
   * Call this before the job is acknowledged: resolves once everything is confirmed and no other attempt can have begun before that.
   * Rejects with the signal's reason if one has.
   */
  finish(): Promise<void>;
}

/** The job's state after `step` steps, as this attempt writes it; `starts` counts the attempts that have begun since the last one. */
export function stateOf(
  { attempt, numericsId, claimsBefore }: ReporterOptions,
  owner: string,
  { step, images, starts }: Pick<JobState, "step" | "images" | "starts">,
): JobState {
  return { v: 1, attempt, numericsId, step, images, starts, claims: claimsBefore + 1, owner };
}

/** The state without this attempt in its counts. */
export function withdrawn(state: JobState, { startsBefore, claimsBefore }: ReporterOptions): JobState {
  return { ...state, starts: Math.min(state.starts, startsBefore), claims: claimsBefore };
}

/** What the caller of a prediction can do about a message of `size` bytes, where `limit` are allowed. */
export function tooLarge(body: EventBody, size: number, limit: number): VqdError {
  const message = `the ${body.type} of ${size} bytes does not fit into a message of at most ${limit} bytes`;
  if (body.type !== "output" && body.type !== "preview") return new VqdError("output_too_large", message);
  const remedy =
    body.format === "png"
      ? "the output formats webp and jpeg are far smaller than png"
      : "a lower quality or a smaller size takes fewer";
  return new VqdError("output_too_large", `${message}; ${remedy}`);
}
