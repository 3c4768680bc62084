// Ensures one stack per data folder: a lock, which also records what the stack has started, so that the stack after one
// that was killed can clean up.

import { linkSync, readFileSync, renameSync, rmSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { z } from "zod";
import { killGroup, isGroupAlive } from "./children/group.ts";
import { writePrivateFile } from "./files.ts";
import { processIdentity } from "./process-identity.ts";

const TERM_LIMIT_MS = 3_000;
/** These processes are not our children, so nothing notifies us when they exit. */
const POLL_MS = 50;

const processSchema = z.object({ name: z.string(), pid: z.int().min(1), identity: z.string() });
const recordSchema = processSchema.extend({ children: z.array(processSchema) });

export type ProcessRecord = z.infer<typeof processSchema>;
type LockRecord = z.infer<typeof recordSchema>;

/** Identifies a process so that it can be recognized later; undefined if it has already ended. */
export function recordOf(name: string, pid: number): ProcessRecord | undefined {
  const identity = processIdentity(pid);
  return identity === undefined ? undefined : { name, pid, identity };
}

export class DataLock {
  readonly #path: string;
  readonly #own: ProcessRecord;

  private constructor(path: string, own: ProcessRecord) {
    this.#path = path;
    this.#own = own;
  }

  /**
   * Takes the lock of a data folder. Throws if a running stack holds it. If the holder was killed, stops what it left
   * running, reports that to `log`, and takes its place.
   */
  static async acquire(dataDir: string, log: (message: string) => void): Promise<DataLock> {
    const path = join(dataDir, "stack.json");
    const own = recordOf("stack", process.pid);
    if (own === undefined)
      throw new Error("cannot determine when this process started (this needs /proc or ps)");
    const fresh = `${path}.${process.pid}.new`;
    writeFileSync(fresh, recordText({ ...own, children: [] }), { mode: 0o600 });
    try {
      // A link appears with its full content, and fails if the name is taken.
      while (!tryLink(fresh, path)) await clearStale(path, dataDir, log);
    } finally {
      rmSync(fresh, { force: true });
    }
    return new DataLock(path, own);
  }

  /** Records what is running now. */
  setChildren(children: readonly ProcessRecord[]): void {
    writePrivateFile(this.#path, recordText({ ...this.#own, children: [...children] }));
  }

  release(): void {
    rmSync(this.#path, { force: true });
  }
}

const recordText = (record: LockRecord): string => `${JSON.stringify(record)}\n`;

function tryLink(from: string, to: string): boolean {
  try {
    linkSync(from, to);
    return true;
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "EEXIST") return false;
    throw error;
  }
}

async function clearStale(path: string, dataDir: string, log: (message: string) => void): Promise<void> {
  const found = readRecord(path);
  if (found === "missing") return;
  if (found !== "damaged" && processIdentity(found.pid) === found.identity) {
    throw new Error(
      `another stack (pid ${found.pid}) is running on ${dataDir}: stop it, or give this one its own folder with --data`,
    );
  }
  // Whoever renames the file first cleans up; the others find it gone.
  const taken = `${path}.${process.pid}.stale`;
  try {
    renameSync(path, taken);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ENOENT") return;
    throw error;
  }
  const stale = readRecord(taken);
  if (stale !== "missing" && stale !== "damaged") {
    if (processIdentity(stale.pid) === stale.identity) {
      // Between reading and renaming, another stack has taken the stale one's place.
      tryLink(taken, path);
      rmSync(taken, { force: true });
      return;
    }
    const left = stale.children.filter(isLeftRunning);
    if (left.length > 0) {
      const names = left.map(({ name, pid }) => `${name} (pid ${pid})`).join(", ");
      log(`the previous stack on ${dataDir} was killed; stopping what it left running: ${names}`);
    }
    await Promise.all(left.map(endGroup));
  }
  rmSync(taken, { force: true });
}

/** Whether the process itself is running, or others of its group after it has ended. */
function isLeftRunning({ pid, identity }: ProcessRecord): boolean {
  const now = processIdentity(pid);
  return now === identity || (now === undefined && isGroupAlive(pid));
}

async function endGroup({ pid }: ProcessRecord): Promise<void> {
  killGroup(pid, "SIGTERM");
  const deadline = performance.now() + TERM_LIMIT_MS;
  while (isGroupAlive(pid) && performance.now() < deadline) await delay(POLL_MS);
  killGroup(pid, "SIGKILL");
}

function readRecord(path: string): LockRecord | "missing" | "damaged" {
  let text: string;
  try {
    text = readFileSync(path, "utf8");
  } catch {
    return "missing";
  }
  try {
    return recordSchema.parse(JSON.parse(text));
  } catch {
    return "damaged";
  }
}
