// Kills the process when its event loop is blocked for good: from a separate thread, since nothing else would run.

import { url as inspectorUrl } from "node:inspector";
import { Worker } from "node:worker_threads";

const INTERVAL_MS = 500;

/** Passed to the thread. */
export interface HeartbeatData {
  /** Two Int32: the number of beats so far, and a number above 0 while no beat is expected. */
  readonly shared: SharedArrayBuffer;
  readonly intervalMs: number;
  /** Intervals without a beat after which the process is killed. */
  readonly limit: number;
}

export interface Heartbeat {
  /** Runs `work`, which may block the event loop for as long as it likes. */
  pausedWhile<T>(work: () => Promise<T>): Promise<T>;
  stop(): void;
}

/**
 * Kills the process by SIGKILL once its event loop has not turned for `limitMs`. The thread counts its own intervals
 * rather than reading the clock, so that a process that was suspended is not mistaken for a hung one.
 */
export function startHeartbeat(limitMs: number): Heartbeat {
  const shared = new SharedArrayBuffer(2 * Int32Array.BYTES_PER_ELEMENT);
  const [beat, pause] = [0, 1];
  const counts = new Int32Array(shared);
  const limit = Math.ceil(limitMs / INTERVAL_MS);
  const workerData: HeartbeatData = { shared, intervalMs: INTERVAL_MS, limit };
  // A debugger stops the event loop on purpose.
  const thread =
    inspectorUrl() === undefined
      ? new Worker(new URL("./heartbeat-thread.ts", import.meta.url), { workerData })
      : undefined;
  const timer = setInterval(() => Atomics.add(counts, beat, 1), INTERVAL_MS);
  timer.unref();
  thread?.unref();
  return {
    async pausedWhile(work) {
      Atomics.add(counts, pause, 1);
      try {
        return await work();
      } finally {
        Atomics.sub(counts, pause, 1);
      }
    },
    stop() {
      clearInterval(timer);
      void thread?.terminate();
    },
  };
}
