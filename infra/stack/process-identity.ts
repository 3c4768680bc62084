// What the system knows of a process: whether it is alive, its group, and an identity that no later process shares.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Fields of /proc/<pid>/stat from the third on, as the second is a name that may contain spaces: proc(5). */
const STATE = 3 - 3;
const PROCESS_GROUP = 5 - 3;
const START_TIME = 22 - 3;

/** Differs between any two processes that have ever had this id; undefined if there is none now. */
export function processIdentity(pid: number): string | undefined {
  try {
    if (process.platform === "linux") {
      const fields = statFields(pid);
      if (isZombie(fields)) return undefined;
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
      return `${boot}:${fields[START_TIME]}`;
    }
    const started = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    return started === "" ? undefined : started;
  } catch {
    return undefined;
  }
}

/** Linux only: whether the process is alive and belongs to this group. */
export function isLivingMember(pid: number, group: number): boolean {
  try {
    const fields = statFields(pid);
    return !isZombie(fields) && Number(fields[PROCESS_GROUP]) === group;
  } catch {
    return false;
  }
}

/** A zombie has ended, but its parent has not collected its status yet, and in a container perhaps never will. */
const isZombie = (fields: readonly string[]): boolean => fields[STATE] === "Z";

function statFields(pid: number): string[] {
  const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
  return stat.slice(stat.lastIndexOf(")") + 2).split(" ");
}
