// Runs the command line as users do.

import { execFileSync, spawn } from "node:child_process";
import { join } from "node:path";
import { text } from "node:stream/consumers";

export const CLI = join(import.meta.dirname, "..", "..", "gpu-worker", "cli.ts");

interface Result {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export const vqd = (...args: string[]): Promise<Result> => vqdIn({}, ...args);

/** In a folder, or with variables of its own. */
export async function vqdIn(
  { cwd, env = {} }: { cwd?: string; env?: Readonly<Record<string, string>> },
  ...args: string[]
): Promise<Result> {
  const child = spawn(process.execPath, [CLI, ...args], {
    cwd,
    env: { ...process.env, ...env },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const exit = new Promise<number | null>((resolve) => {
    child.once("exit", resolve);
  });
  const [stdout, stderr, code] = await Promise.all([text(child.stdout), text(child.stderr), exit]);
  return { code, stdout, stderr };
}

/** Whether there is such a command, by asking for its version. */
export function isRunnable(command: string): boolean {
  try {
    execFileSync(command, ["--version"], { stdio: "ignore" });
    return true;
  } catch {
    return false;
  }
}
