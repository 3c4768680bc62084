// Wakes those who wait for a prediction to change: event streams and held requests.

interface Topic {
  readonly listeners: Set<() => void>;
  /** Sequence after which there is nothing yet; undefined when that is not known. */
  newest: number | undefined;
}

/** Interest in one prediction. End it with `unsubscribe`. */
export interface Subscription {
  /**
   * Sequence of the newest event, if it has been looked up since the last change: all readers of a prediction share
   * it, so that one of them asks the database and not each.
   */
  newest: number | undefined;
  unsubscribe(): void;
}

export class ChangeNotifier {
  readonly #topics = new Map<string, Topic>();

  notify(id: string): void {
    const topic = this.#topics.get(id);
    if (topic === undefined) return;
    topic.newest = undefined;
    for (const listener of topic.listeners) listener();
  }

  /** Calls `onChange` at each change of `id`. */
  subscribe(id: string, onChange: () => void): Subscription {
    const topic = this.#topics.get(id) ?? { listeners: new Set(), newest: undefined };
    this.#topics.set(id, topic);
    // Of its own, should the same function subscribe twice.
    const listener = (): void => onChange();
    topic.listeners.add(listener);
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

  /** What `read` gives, asked now and at each change of `id`, as soon as that is something; undefined after `timeoutMs`. */
  async until<T>(id: string, timeoutMs: number, read: () => T | undefined): Promise<T | undefined> {
    const until = Date.now() + timeoutMs;
    for (;;) {
      const value = read();
      const left = until - Date.now();
      if (value !== undefined || left <= 0) return value;
      await this.#next(id, left);
    }
  }

  /** Waits for the next change of `id`, or for `timeoutMs`. */
  #next(id: string, timeoutMs: number): Promise<void> {
    return new Promise((resolve) => {
      const settle = (): void => {
        clearTimeout(timer);
        subscription.unsubscribe();
        resolve();
      };
      const subscription = this.subscribe(id, settle);
      const timer = setTimeout(settle, timeoutMs);
    });
  }
}
