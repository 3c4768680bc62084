// The Prefer header (RFC 7240): how long a caller is willing to wait for the result.

/** Longest wait in seconds, and the one for a `wait` without a number. */
const MAX_WAIT_SECONDS = 60;

/** Seconds to wait according to a Prefer header; 0 if it does not ask to wait. */
export function preferredWait(header: string | undefined): number {
  const match = /(?:^|[,;\s])wait(?:\s*=\s*"?(\d+)"?)?(?=$|[,;\s])/i.exec(header ?? "");
  if (match === null) return 0;
  const seconds = match[1] === undefined ? MAX_WAIT_SECONDS : Number(match[1]);
  return Math.min(seconds, MAX_WAIT_SECONDS);
}
