// What the owners of jobs have had of a device on which each row of a pass takes time of its own, as a CPU: who is next, and how much
// a pass may hold (docs/adr/0032-passes-are-shared-by-owner.md).

/**
 * How long a pass takes, and so how long whoever comes may have to wait; but it has two slots at least. On two cores of an EPYC a row
 * of the bundled model takes as long in a pass of ten as in one of two.
 */
const PASS_MS = 150;
const LEAST_SLOTS = 2;
/** How much an owner may make up for, so that a single image now and then is hardly slower than alone. In ms of the device. */
const CREDIT_MS = 2_000;

/** Stands for the owner of a job that does not say whose it is. */
export const unknownOwner = (): symbol => Symbol("unknown owner");

export class OwnerShares {
  /** Slots that each owner has had, in comparison with the others. */
  readonly #had = new Map<unknown, number>();

  /**
   * Call before the first run of an owner who has none, with the owners who have some. It is behind them by what it has not used
   * meanwhile, up to a bound; `slotMs` is how long the device takes for a slot, 0 if that is not known yet.
   */
  welcome(owner: unknown, present: ReadonlySet<unknown>, slotMs: number): void {
    if (present.size === 0) this.#had.clear();
    // Nothing is known of what an unknown owner has had.
    const credit = slotMs === 0 || typeof owner === "symbol" ? 0 : Math.floor(CREDIT_MS / slotMs);
    const bound = this.#least(present) - credit;
    this.#had.set(owner, Math.max(this.#had.get(owner) ?? bound, bound));
    // The others would get the same bound.
    for (const [one, had] of this.#had) if (!present.has(one) && had < bound) this.#had.delete(one);
  }

  /** Of `owners`, those that have had the least. */
  next(owners: ReadonlySet<unknown>): unknown[] {
    const least = this.#least(owners);
    return [...owners].filter((owner) => this.#hadBy(owner) === least);
  }

  charge(owner: unknown, slots: number): void {
    this.#had.set(owner, this.#hadBy(owner) + slots);
  }

  /** Most slots of a pass. */
  static slotsOfPass(slotMs: number): number {
    return slotMs === 0 ? LEAST_SLOTS : Math.max(LEAST_SLOTS, Math.floor(PASS_MS / slotMs));
  }

  #hadBy(owner: unknown): number {
    return this.#had.get(owner) ?? 0;
  }

  #least(owners: ReadonlySet<unknown>): number {
    return owners.size === 0 ? 0 : Math.min(...[...owners].map((owner) => this.#hadBy(owner)));
  }
}
