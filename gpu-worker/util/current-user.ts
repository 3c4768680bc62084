// Who runs a command, for records of what was done.

import { userInfo } from "node:os";

/** The name of the process's user on this machine. A container may run as a user without one: then its number. */
export function currentUser(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? "unknown");
  }
}
