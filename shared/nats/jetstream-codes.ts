// Error codes of JetStream's API of which there are several for one thing.

/**
 * A compare-and-set found another message than the one expected: with the sequence of that, and, from nats-server 2.11 on and in a
 * cluster, without. Both are definite: nothing was written. Codes: nats-server's `errors.json`.
 */
export const SEQUENCE_CONFLICTS: ReadonlySet<number> = new Set([10_071, 10_164]);
