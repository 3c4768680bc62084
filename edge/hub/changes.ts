// Wakes those who wait for a prediction to change: event streams and held requests.

export class Changes {
  readonly #listeners = new Map<string, Set<() => void>>();

  notify(id: string): void {
    for (const listener of this.#listeners.get(id) ?? []) listener();
  }

  /** Resolves with true at the next change of `id`, with false after `timeoutMs` or when `signal` aborts. */
  next(id: string, timeoutMs: number, signal?: AbortSignal): Promise<boolean> {
    return new Promise((resolve) => {
      const settle = (changed: boolean): void => {
        clearTimeout(timer);
        signal?.removeEventListener("abort", onAbort);
        const listeners = this.#listeners.get(id);
        listeners?.delete(onChange);
        if (listeners?.size === 0) this.#listeners.delete(id);
        resolve(changed);
      };
      const onChange = (): void => settle(true);
      const onAbort = (): void => settle(false);
      const timer = setTimeout(onAbort, Math.max(0, timeoutMs));
      let listeners = this.#listeners.get(id);
      if (listeners === undefined) this.#listeners.set(id, (listeners = new Set()));
      listeners.add(onChange);
      signal?.addEventListener("abort", onAbort);
      if (signal?.aborted === true) settle(false);
    });
  }
}
