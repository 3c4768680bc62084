// Signals process groups: a child and everything that it has started.

import { readdirSync } from "node:fs";
import { isLivingMember } from "../process-identity.ts";

/** Signals all processes of a group, if there are any. `group` is the id of its first process. */
export function killGroup(group: number, signal: NodeJS.Signals): void {
  signalGroup(group, signal);
}

/** True if a process of the group is still running. */
export function isGroupAlive(group: number): boolean {
  if (!signalGroup(group, 0)) return false;
  // Zombies count for the signal, too.
  if (process.platform !== "linux") return true;
  return readdirSync("/proc").some((name) => /^\d+$/.test(name) && isLivingMember(Number(name), group));
}

function signalGroup(group: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-group, signal);
  } catch (error) {
    // ESRCH: there is no such group. EPERM, on macOS: it consists of zombies only.
    if (error instanceof Error && "code" in error && (error.code === "ESRCH" || error.code === "EPERM"))
      return false;
    throw error;
  }
}
