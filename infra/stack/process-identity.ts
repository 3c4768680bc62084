// Tells a process from a later one that was given the same id.

import { execFileSync } from "node:child_process";
import { readFileSync } from "node:fs";

/** Field 22 of /proc/<pid>/stat counted from after the command name, which may hold spaces. */
const START_TIME_FIELD = 22 - 3;

/** Differs between any two processes that ever had this id; undefined if there is none now. */
export function processIdentity(pid: number): string | undefined {
  try {
    if (process.platform === "linux") {
      const stat = readFileSync(`/proc/${pid}/stat`, "latin1");
      const fields = stat.slice(stat.lastIndexOf(")") + 2).split(" ");
      // A zombie has ended; only its parent has not looked yet.
      if (fields[0] === "Z") return undefined;
      const boot = readFileSync("/proc/sys/kernel/random/boot_id", "latin1").trim();
      return `${boot}:${fields[START_TIME_FIELD]}`;
    }
    const started = execFileSync("ps", ["-o", "lstart=", "-p", String(pid)], { encoding: "utf8" }).trim();
    return started === "" ? undefined : started;
  } catch {
    return undefined;
  }
}
