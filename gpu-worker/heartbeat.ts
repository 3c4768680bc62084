// Ends the process when its event loop is blocked for good: from a thread of its own, since nothing else would run.

import { url as inspectorUrl } from "node:inspector";
import { Worker } from "node:worker_threads";

const INTERVAL_MS = 500;

/** Told to the thread. */
export interface HeartbeatData {
  /** One Int32, counted up by every beat. */
  readonly beats: SharedArrayBuffer;
  readonly intervalMs: number;
  /** Intervals without a beat after which the process is killed. */
  readonly limit: number;
}

/**
 * Kills the process by SIGKILL once its event loop has not turned for `limitMs`. The thread counts its own turns and not
 * the clock, so that a process that was suspended is not taken for a hung one. Returns how to stop.
 */
export function startHeartbeat(limitMs: number): () => void {
  // Who debugs stops the event loop on purpose.
  if (inspectorUrl() !== undefined) return () => {};
  const beats = new SharedArrayBuffer(Int32Array.BYTES_PER_ELEMENT);
  const count = new Int32Array(beats);
  const timer = setInterval(() => Atomics.add(count, 0, 1), INTERVAL_MS);
  const workerData: HeartbeatData = {
    beats,
    intervalMs: INTERVAL_MS,
    limit: Math.ceil(limitMs / INTERVAL_MS),
  };
  const thread = new Worker(new URL("./heartbeat-thread.ts", import.meta.url), { workerData });
  timer.unref();
  thread.unref();
  return () => {
    clearInterval(timer);
    void thread.terminate();
  };
}
