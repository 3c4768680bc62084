// The thread behind heartbeat.ts.

import { writeSync } from "node:fs";
import { workerData } from "node:worker_threads";
import type { HeartbeatData } from "./heartbeat.ts";

const STDOUT = 1;

const { beats, intervalMs, limit } = workerData as HeartbeatData;
const count = new Int32Array(beats);
let last = Atomics.load(count, 0);
let missed = 0;

setInterval(() => {
  const beat = Atomics.load(count, 0);
  missed = beat === last ? missed + 1 : 0;
  last = beat;
  if (missed < limit) return;
  const seconds = Math.round((missed * intervalMs) / 1_000);
  const line = {
    time: new Date().toISOString(),
    level: "error",
    msg: "the event loop is blocked, ending",
    seconds,
  };
  writeSync(STDOUT, `${JSON.stringify(line)}\n`);
  process.kill(process.pid, "SIGKILL");
}, intervalMs);
