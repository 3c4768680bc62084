// Ctrl-C in a bench: leaving by process.exit() lets the stack kill what it has started, and leaves no files behind.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";

const EXIT_INTERRUPTED = 130;
const SIGNALS = ["SIGINT", "SIGTERM"] as const;

/** Leaves on a signal, and calls `cleanUp` however the process ends; returns how to take that back. */
export function onInterrupt(cleanUp: () => void): () => void {
  const leave = (): void => process.exit(EXIT_INTERRUPTED);
  for (const signal of SIGNALS) process.once(signal, leave);
  process.once("exit", cleanUp);
  return () => {
    for (const signal of SIGNALS) process.off(signal, leave);
    process.off("exit", cleanUp);
  };
}

/** A temporary folder that is gone after `remove`, and however the process ends before that. */
export function workFolder(prefix: string): { readonly path: string; readonly remove: () => void } {
  const path = mkdtempSync(join(tmpdir(), prefix));
  // Again if a process that was just killed has still written.
  const clear = (): void => rmSync(path, { recursive: true, force: true, maxRetries: 5 });
  const release = onInterrupt(clear);
  const remove = (): void => {
    release();
    clear();
  };
  return { path, remove };
}

/** What a script says on stdout, in a process of its own that does not outlive this one. */
export async function runScript(...args: readonly string[]): Promise<string> {
  const running = promisify(execFile)(process.execPath, args);
  const kill = (): void => void running.child.kill("SIGKILL");
  // Before its files are removed.
  process.prependOnceListener("exit", kill);
  try {
    return (await running).stdout;
  } finally {
    process.off("exit", kill);
  }
}
