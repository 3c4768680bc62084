// Loads parts of a model concurrently, all or none.

export interface Releasable {
  release(): Promise<void>;
}

/** Resolves to all parts, in order. If one cannot be loaded, releases the others and rejects with the first error. */
export async function allOrNone<Parts extends readonly Releasable[]>(loads: {
  readonly [Part in keyof Parts]: Promise<Parts[Part]>;
}): Promise<Parts> {
  const settled = await Promise.allSettled<Releasable>(loads);
  const loaded = settled.flatMap((load) => (load.status === "fulfilled" ? [load.value] : []));
  if (loaded.length < settled.length) {
    // The error to report is that of the load.
    await Promise.allSettled(loaded.map((part) => part.release()));
  }
  return await Promise.all(loads);
}
