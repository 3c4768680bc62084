// Which versions of nats-server will do.

/** Work queues that discard new messages, direct get and consumers created by name require 2.9. */
export const MIN_NATS = "2.9";

/** Whether `version` is `least` or a later one. Both are numbers with dots between them; what follows the numbers does not count. */
export function isAtLeast(version: string, least: string): boolean {
  const [given = [], wanted = []] = [version, least].map((text) =>
    text.split(".").map((part) => Number.parseInt(part, 10)),
  );
  for (const [i, part] of wanted.entries()) {
    const own = given[i] ?? 0;
    if (own !== part) return own > part;
  }
  return true;
}
