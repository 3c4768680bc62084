// What happens next in a simulated time: a binary heap of events.

interface Entry {
  readonly at: number;
  /** Of two at the same time, the one noted first comes first: the same run every time. */
  readonly order: number;
  readonly happen: () => void;
}

const isBefore = (a: Entry, b: Entry): boolean => a.at < b.at || (a.at === b.at && a.order < b.order);

export class Agenda {
  readonly #heap: Entry[] = [];
  #order = 0;
  #now = 0;

  /** ms since the start. */
  get now(): number {
    return this.#now;
  }

  /** Notes that `happen` is to be called `delayMs` from now. */
  after(delayMs: number, happen: () => void): void {
    const heap = this.#heap;
    const entry = { at: this.#now + delayMs, order: this.#order++, happen };
    let place = heap.length;
    heap.push(entry);
    while (place > 0) {
      const parent = (place - 1) >> 1;
      const above = heap[parent];
      if (above === undefined || isBefore(above, entry)) break;
      heap[place] = above;
      place = parent;
    }
    heap[place] = entry;
  }

  /** Lets the next event happen; false if there is none. */
  step(): boolean {
    const next = this.#take();
    if (next === undefined) return false;
    this.#now = next.at;
    next.happen();
    return true;
  }

  #take(): Entry | undefined {
    const heap = this.#heap;
    const first = heap[0];
    const last = heap.pop();
    if (first === undefined || last === undefined || heap.length === 0) return first;
    let place = 0;
    for (;;) {
      let child = 2 * place + 1;
      const [left, right] = [heap[child], heap[child + 1]];
      if (left === undefined) break;
      if (right !== undefined && isBefore(right, left)) child++;
      const smaller = heap[child];
      if (smaller === undefined || isBefore(last, smaller)) break;
      heap[place] = smaller;
      place = child;
    }
    heap[place] = last;
    return first;
  }
}
