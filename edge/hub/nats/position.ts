// Since when the oldest event that the hub has yet to apply has been in the stream: what it would lose first.

export class EventsPosition {
  /** When messages that have been delivered and not applied came into the stream, as Unix time in ms, by their sequence. */
  readonly #waiting = new Map<number, number>();
  /** Of the last one delivered, and how many of the hub's messages come after it. */
  #last = { at: 0, pending: 0 };
  /** A time by which all before had been applied, while nothing is delivered; null if nothing waits. */
  #since: number | null = null;

  /** When the oldest one came that has not been applied, as Unix time in ms, or earlier if that is not known; null if none waits. */
  get behindSince(): number | null {
    for (const at of this.#waiting.values()) return at;
    return this.#last.pending > 0 ? this.#last.at : this.#since;
  }

  /** Call for each message as it is delivered, in order. `at`: when it came into the stream. */
  received(sequence: number, at: number, pending: number): void {
    this.#since = null;
    this.#last = { at, pending };
    this.#waiting.set(sequence, at);
  }

  applied(sequence: number): void {
    this.#waiting.delete(sequence);
  }

  /** Call when nothing is delivered any more. */
  stopped(now: number): void {
    this.#since = this.behindSince ?? now;
    this.#waiting.clear();
    this.#last = { at: 0, pending: 0 };
  }

  /** Call when messages are delivered again, of which so many wait. */
  started(backlog: number): void {
    if (backlog === 0) this.#since = null;
  }
}

/** The stream's oldest message, if it has any, and how old that was when it was asked for. */
export interface StreamEnd {
  readonly firstSequence: number;
  readonly lastSequence: number;
  readonly messages: number;
  readonly ageMs: number;
}

/** How far the hub is behind, and from the oldest message: what it could fall behind further without losing one. */
export interface EventsDistance {
  readonly behindSeconds: number;
  /** These two are undefined if the stream is empty, or has never been seen. Below zero: messages are gone that were not read. */
  readonly headroomSeconds: number | undefined;
  readonly headroomMessages: number | undefined;
}

/** `sequence`: before which everything has been applied. */
export function distanceOf(
  behindSince: number | null,
  sequence: number,
  end: StreamEnd | undefined,
  now: number,
): EventsDistance {
  const behindMs = behindSince === null ? 0 : Math.max(0, now - behindSince);
  const behindSeconds = behindMs / 1_000;
  if (end === undefined || end.messages === 0) {
    return { behindSeconds, headroomSeconds: undefined, headroomMessages: undefined };
  }
  // One that has applied everything is at the end of the stream, wherever the last message of its own was.
  const position = behindSince === null ? end.lastSequence : sequence;
  return {
    behindSeconds,
    headroomSeconds: (end.ageMs - behindMs) / 1_000,
    headroomMessages: position - end.firstSequence + 1,
  };
}
