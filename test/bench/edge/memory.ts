// The memory of a process and all that it has started, by the name of the program.

import { readdirSync, readFileSync } from "node:fs";

interface Entry {
  readonly pid: number;
  readonly parent: number;
  readonly name: string;
}

function processes(): Entry[] {
  const entries: Entry[] = [];
  for (const folder of readdirSync("/proc")) {
    if (!/^\d+$/.test(folder)) continue;
    try {
      const stat = readFileSync(`/proc/${folder}/stat`, "latin1");
      const end = stat.lastIndexOf(")");
      const name = stat.slice(stat.indexOf("(") + 1, end);
      entries.push({ pid: Number(folder), parent: Number(stat.slice(end + 2).split(" ")[1]), name });
    } catch {
      // It has ended meanwhile.
    }
  }
  return entries;
}

/** Resident memory in MiB of the descendants of `root` whose program is `name`. Linux only. */
export function residentMb(root: number, name: string): number {
  const all = processes();
  const family = new Set([root]);
  for (let size = 0; size !== family.size;) {
    size = family.size;
    for (const { pid, parent } of all) if (family.has(parent)) family.add(pid);
  }
  let kb = 0;
  for (const entry of all) {
    if (!family.has(entry.pid) || entry.name !== name) continue;
    const status = readFileSync(`/proc/${entry.pid}/status`, "latin1");
    kb += Number(/^VmRSS:\s+(\d+) kB/m.exec(status)?.[1] ?? 0);
  }
  return Math.round(kb / 1_024);
}
