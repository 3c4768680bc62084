// What queueing theory says of simple systems, to check the simulation against.

/**
 * Erlang's C: the share of arrivals that wait, with Poisson arrivals, exponential service and `servers` (M/M/c).
 * `load` is the arrival rate times the mean service time; below `servers`. By the recursion of Erlang's B, which stays
 * within doubles for any number of servers.
 */
export function erlangC(servers: number, load: number): number {
  let blocking = 1;
  for (let n = 1; n <= servers; n++) blocking = (load * blocking) / (n + load * blocking);
  return blocking / (1 - (load / servers) * (1 - blocking));
}

/** Mean wait of M/M/c, in units of the mean service time. */
export const meanWaitMMc = (servers: number, load: number): number =>
  erlangC(servers, load) / (servers - load);

/** Mean wait of M/D/1, in service times: Pollaczek and Khinchine, exact. `load` is below 1. */
export const meanWaitMD1 = (load: number): number => load / (2 * (1 - load));

/** States beyond what is ever likely at the loads of interest, and when the distribution no longer changes. */
const MAX_JOBS = 600;
const SETTLED = 1e-10;

/**
 * Mean wait of M/D/c, in service times: exact. After one service time those that were in service have left and a Poisson
 * number has come, so that the number of jobs is a Markov chain (Crommelin 1932); its stationary distribution gives the
 * mean queue, and Little's law the wait.
 */
export function meanWaitMDc(servers: number, load: number): number {
  const arrivals = new Float64Array(MAX_JOBS);
  arrivals[0] = Math.exp(-load);
  for (let n = 1; n < MAX_JOBS; n++) arrivals[n] = ((arrivals[n - 1] ?? 0) * load) / n;
  let present = Float64Array.from(arrivals);
  for (let change = 1; change > SETTLED;) {
    const next = new Float64Array(MAX_JOBS);
    for (let before = 0; before < MAX_JOBS; before++) {
      const left = Math.max(0, before - servers);
      const share = present[before] ?? 0;
      if (share < 1e-16) continue;
      for (let now = left; now < MAX_JOBS; now++)
        next[now] = (next[now] ?? 0) + share * (arrivals[now - left] ?? 0);
    }
    change = next.reduce((sum, share, n) => sum + Math.abs(share - (present[n] ?? 0)), 0);
    present = next;
  }
  return present.reduce((sum, share, n) => sum + share * Math.max(0, n - servers), 0) / load;
}

/** The share of M/M/c's arrivals that waits longer than `wait` service times. */
export const waitsLongerMMc = (servers: number, load: number, wait: number): number =>
  erlangC(servers, load) * Math.exp(-(servers - load) * wait);
