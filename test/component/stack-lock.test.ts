// One stack per data folder, and clearing up after one that was killed.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { existsSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, readdir, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterEach, beforeEach, expect, it } from "vitest";
import { isGroupAlive } from "../../infra/stack/children/group.ts";
import { DataLock, recordOf } from "../../infra/stack/lock.ts";
import { processIdentity } from "../../infra/stack/process-identity.ts";

let dir: string;
let said: string[];
const say = (message: string): void => void said.push(message);
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "vqd-lock-"));
  said = [];
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A process in its own group, as the stack's children are. */
async function startSleeper(): Promise<number> {
  const child = spawn(process.execPath, ["--eval", "setInterval(() => {}, 1e6)"], {
    detached: true,
    stdio: "ignore",
  });
  await once(child, "spawn");
  return child.pid ?? 0;
}

it("is held by one, and free again after its release", async () => {
  const lock = await DataLock.acquire(dir, say);
  expect(statSync(join(dir, "stack.json")).mode & 0o777).toBe(0o600);
  await expect(DataLock.acquire(dir, say)).rejects.toThrow(
    `another stack (pid ${process.pid}) is running on ${dir}: stop it, or give this one its own folder with --data`,
  );
  lock.setChildren([]);
  await expect(DataLock.acquire(dir, say)).rejects.toThrow("another stack");
  lock.release();
  (await DataLock.acquire(dir, say)).release();
  expect(await readdir(dir)).toEqual([]);
  expect(said).toEqual([]);
});

it("goes to one of many that want it at once", async () => {
  const results = await Promise.allSettled(Array.from({ length: 10 }, () => DataLock.acquire(dir, say)));
  expect(results.filter(({ status }) => status === "fulfilled")).toHaveLength(1);
});

it("is taken from a stack that was killed, whose children are stopped", async () => {
  const pid = await startSleeper();
  const gone = await startSleeper();
  const goneRecord = recordOf("edge", gone);
  process.kill(gone, "SIGKILL");
  const dead = { name: "stack", pid: 2 ** 22 + 1, identity: "of another time" };
  // A process with the id of a former child, but not the same one.
  const stranger = await startSleeper();
  const children = [recordOf("nats", pid), goneRecord, { name: "worker 1", pid: stranger, identity: "x" }];
  writeFileSync(join(dir, "stack.json"), JSON.stringify({ ...dead, children }));

  const lock = await DataLock.acquire(dir, say);
  await expect.poll(() => isGroupAlive(pid)).toBe(false);
  expect(isGroupAlive(stranger)).toBe(true);
  expect(said).toHaveLength(1);
  expect(said[0]).toContain(`stopping what it left running: nats (pid ${pid})`);
  expect(JSON.parse(readFileSync(join(dir, "stack.json"), "utf8"))).toMatchObject({
    pid: process.pid,
    children: [],
  });
  lock.release();
  process.kill(stranger, "SIGKILL");
});

it("is taken when its holder's id is another process's now, and when its file is damaged", async () => {
  writeFileSync(
    join(dir, "stack.json"),
    JSON.stringify({ name: "stack", pid: process.pid, identity: "earlier", children: [] }),
  );
  (await DataLock.acquire(dir, say)).release();
  writeFileSync(join(dir, "stack.json"), "{");
  (await DataLock.acquire(dir, say)).release();
  expect(existsSync(join(dir, "stack.json"))).toBe(false);
});

it("tells processes apart", async () => {
  const own = processIdentity(process.pid);
  expect(own).toMatch(/./);
  expect(processIdentity(process.pid)).toBe(own);
  const pid = await startSleeper();
  expect(processIdentity(pid)).not.toBe(own);
  process.kill(pid, "SIGKILL");
  await expect.poll(() => processIdentity(pid)).toBeUndefined();
});
