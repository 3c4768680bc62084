// A worker whose every pass fails, beside a good one: no job fails, none is charged an attempt, and the bad one leaves.

import { mkdtemp, readFile, rm, stat } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { expect, it } from "vitest";
import { createPrediction, getPrediction, readEvents } from "../integration/support/client.ts";
import { startTestStack } from "../integration/support/stack.ts";
import { BROKEN_DEVICE, faultyEnvironment } from "./faults.ts";
import { inputOf } from "./jobs.ts";

const JOBS = 6;
/** From its first failed pass to its end. */
const LEAVES_WITHIN_SECONDS = 10;
const POLL_MS = 20;

/** Resolves once the process that wrote its id to `file` has exited, to the seconds since then. */
async function secondsToExit(file: string): Promise<number> {
  for (;;) {
    const written = await stat(file).catch(() => undefined);
    const pid = Number(await readFile(file, "utf8").catch(() => ""));
    if (written !== undefined && pid > 0) {
      if (!isAlive(pid)) return (Date.now() - written.mtimeMs) / 1_000;
    }
    await delay(POLL_MS);
  }
}

function isAlive(pid: number): boolean {
  try {
    process.kill(pid, 0);
    return true;
  } catch {
    return false;
  }
}

it("makes no job fail, and leaves", { timeout: 240_000 }, async () => {
  const folder = await mkdtemp(join(tmpdir(), "vqd-broken-"));
  const file = join(folder, "broken");
  const test = await startTestStack({
    workers: 2,
    shortModel: true,
    workerEnv: {
      ...faultyEnvironment(join(folder, "steps")),
      [BROKEN_DEVICE]: file,
      // One attempt that counts would end a job.
      VQD_MAX_ATTEMPTS: "1",
    },
  });
  try {
    await test.stack.waitReady();
    const jobs = await Promise.all(
      Array.from({ length: JOBS }, (_, seed) =>
        createPrediction(test, { ...inputOf(1, 8), num_outputs: 1, seed }),
      ),
    );
    const seconds = secondsToExit(file);
    for (const { id } of jobs) {
      for await (const _ of readEvents(test, id));
      expect((await getPrediction(test, id)).status).toBe("succeeded");
    }
    expect(await seconds).toBeLessThan(LEAVES_WITHIN_SECONDS);
    const said = (message: RegExp) => test.lines.filter(({ text }) => message.test(text));
    // Never a second time: the worker that replaces it has a device that works.
    expect(said(/the device is broken; handing back the jobs and exiting/)).toHaveLength(1);
    expect(said(/attempt failed/)).toEqual([]);
  } finally {
    await test.stop();
    await rm(folder, { recursive: true, force: true });
  }
});
