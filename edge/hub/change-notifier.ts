// Notifies event streams and waiting requests when a prediction changes.

/** What a change is: a further step, of which there may be hundreds, or anything else. */
export type Change = "step" | "other";

interface Topic {
  /** With whether each wants to know of steps. */
  readonly listeners: Map<() => void, boolean>;
  /** Sequence number of the newest event; undefined if unknown. */
  newest: number | undefined;
}

/** A subscription to one prediction. End it with `unsubscribe`. */
export interface Subscription {
  /**
   * Sequence number of the newest event, if it has been looked up since the last change. All readers of a prediction share
   * it, so that only one of them queries the database.
   */
  newest: number | undefined;
  unsubscribe(): void;
}

export class ChangeNotifier {
  readonly #topics = new Map<string, Topic>();

  notify(id: string, change: Change = "other"): void {
    const topic = this.#topics.get(id);
    if (topic === undefined) return;
    topic.newest = undefined;
    for (const [listener, wantsSteps] of topic.listeners) if (wantsSteps || change !== "step") listener();
  }

  /** Calls `onChange` on every change of `id`, steps included unless `wantsSteps` is false. */
  subscribe(id: string, onChange: () => void, wantsSteps = true): Subscription {
    const topic = this.#topics.get(id) ?? { listeners: new Map<() => void, boolean>(), newest: undefined };
    this.#topics.set(id, topic);
    // A new function, in case the same one is subscribed twice.
    const listener = (): void => onChange();
    topic.listeners.set(listener, wantsSteps);
    return {
      get newest() {
        return topic.newest;
      },
      set newest(seq) {
        topic.newest = seq;
      },
      unsubscribe: () => {
        topic.listeners.delete(listener);
        if (topic.listeners.size === 0 && this.#topics.get(id) === topic) this.#topics.delete(id);
      },
    };
  }

  /** Calls `read` now and on every change of `id` but its steps until it returns a value; undefined after `timeoutMs`. */
  async until<T>(id: string, timeoutMs: number, read: () => T | undefined): Promise<T | undefined> {
    const until = Date.now() + timeoutMs;
    for (;;) {
      const value = read();
      const left = until - Date.now();
      if (value !== undefined || left <= 0) return value;
      await this.#next(id, left);
    }
  }

  /** Waits for the next change of `id` but its steps, at most `timeoutMs`. */
  #next(id: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        subscription.unsubscribe();
        resolve();
      };
      const subscription = this.subscribe(id, settle, false);
      const timer = setTimeout(settle, timeoutMs);
    });
  }
}
