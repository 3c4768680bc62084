// Signals to process groups: a child and all that it has started.

/** True if the group had a process to signal. `pid` is the id of the group's first process. */
export function killGroup(pid: number, signal: NodeJS.Signals): boolean {
  return signalGroup(pid, signal);
}

export function isGroupAlive(pid: number): boolean {
  return signalGroup(pid, 0);
}

function signalGroup(pid: number, signal: NodeJS.Signals | 0): boolean {
  try {
    return process.kill(-pid, signal);
  } catch (error) {
    if (error instanceof Error && "code" in error && error.code === "ESRCH") return false;
    // EPERM on macOS: only zombies are left.
    if (error instanceof Error && "code" in error && error.code === "EPERM") return false;
    throw error;
  }
}
