// Bounds what an isolate remembers.

/** Makes room for one more. */
export function limitSize(map: Map<string, unknown>, max: number): void {
  if (map.size >= max) map.clear();
}
