// Parts of a model that are loaded at the same time.

export interface Releasable {
  release(): Promise<void>;
}

/** All parts, in order. Rejects with the first error if one cannot be loaded, and releases those that could. */
export async function allOrNone<Parts extends readonly Releasable[]>(loads: {
  readonly [Part in keyof Parts]: Promise<Parts[Part]>;
}): Promise<Parts> {
  const settled = await Promise.allSettled<Releasable>(loads);
  const loaded = settled.flatMap((load) => (load.status === "fulfilled" ? [load.value] : []));
  if (loaded.length < settled.length) {
    // The error to be heard of is that of the load.
    await Promise.allSettled(loaded.map((part) => part.release()));
  }
  return (await Promise.all(loads)) as unknown as Parts;
}
