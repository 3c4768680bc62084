// The thread behind heartbeat.ts.

import { writeSync } from "node:fs";
import { workerData } from "node:worker_threads";
import type { HeartbeatData } from "./heartbeat.ts";

const STDOUT = 1;

const { shared, intervalMs, limit } = workerData as HeartbeatData;
const [beat, pause] = [0, 1];
const counts = new Int32Array(shared);
let last = -1;
let missed = 0;

setInterval(() => {
  const beats = Atomics.load(counts, beat);
  const isExpected = Atomics.load(counts, pause) === 0;
  missed = beats === last && isExpected ? missed + 1 : 0;
  last = beats;
  if (missed < limit) return;
  const seconds = (missed * intervalMs) / 1_000;
  const line = {
    time: new Date().toISOString(),
    level: "error",
    msg: "the event loop is blocked; killing the process",
    seconds,
  };
  writeSync(STDOUT, `${JSON.stringify(line)}\n`);
  process.kill(process.pid, "SIGKILL");
}, intervalMs);
