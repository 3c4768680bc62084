// Many calls, so many at a time.

/** Calls `work` with 0 to `count` - 1, `limit` of them at once. */
export async function inFlight(
  count: number,
  limit: number,
  work: (index: number) => Promise<unknown>,
): Promise<void> {
  let next = 0;
  const runner = async (): Promise<void> => {
    while (next < count) await work(next++);
  };
  await Promise.all(Array.from({ length: Math.min(limit, count) }, runner));
}
