// The Prefer header (RFC 7240): how long a caller wants its answer held back.

/** Longest wait that `Prefer: wait` gives, in seconds, and the one it gives without a number. */
const MAX_WAIT_SECONDS = 60;

/** Seconds to wait by a Prefer header; 0 for none. */
export function preferredWait(header: string | undefined): number {
  const match = /(?:^|[,;\s])wait(?:\s*=\s*"?(\d+)"?)?(?=$|[,;\s])/i.exec(header ?? "");
  if (match === null) return 0;
  const seconds = match[1] === undefined ? MAX_WAIT_SECONDS : Number(match[1]);
  return Math.min(seconds, MAX_WAIT_SECONDS);
}
