// A part of gpu-check in a process of its own: a part that crashes, hangs or breaks the device costs the others nothing but its time.

import { fork } from "node:child_process";

/** What the process sends. */
export type PartMessage =
  | { readonly type: "partial"; readonly value: object }
  | { readonly type: "done"; readonly value: object }
  | { readonly type: "failed"; readonly message: string }
  | { readonly type: "out of time"; readonly message: string };

export interface PartResult {
  /** `not done`: it has run out of time. */
  readonly status: "done" | "failed" | "not done";
  /** Why it is not done; undefined if it is. */
  readonly reason: string | undefined;
  /** What it has found out, also if it could not be completed. */
  readonly value: object;
}

/** In the part's process: resolves when the message has gone out. */
export const send = (message: PartMessage): Promise<void> =>
  new Promise((resolve) => process.send?.(message, () => resolve()));

/** Runs `script` with `argument` as JSON, and kills it and what it has started when `seconds` are over, or when this process ends. */
export function runPart(script: string, argument: object, seconds: number): Promise<PartResult> {
  return new Promise((resolve) => {
    // A group of its own, to kill what it has started with it; what it prints must not get into the report.
    const child = fork(script, [JSON.stringify(argument)], {
      detached: true,
      stdio: ["ignore", "ignore", "pipe", "ipc"],
    });
    let value: object = {};
    let ended: Omit<PartResult, "value"> | undefined;
    let complaint = "";
    const kill = (): void => {
      try {
        process.kill(-(child.pid ?? 0), "SIGKILL");
      } catch {
        // It has ended.
      }
    };
    const timer = setTimeout(() => {
      ended ??= { status: "not done", reason: `took longer than ${Math.round(seconds)} s` };
      kill();
    }, 1_000 * seconds);
    process.prependOnceListener("exit", kill);
    child.stderr?.setEncoding("utf8").on("data", (text: string) => {
      complaint = (complaint + text).slice(-LONGEST_COMPLAINT);
    });
    child.on("message", (message: PartMessage) => {
      if (message.type === "partial" || message.type === "done") ({ value } = message);
      if (message.type === "partial") return;
      if (message.type === "done") ended ??= { status: "done", reason: undefined };
      else {
        const status = message.type === "failed" ? "failed" : "not done";
        ended ??= { status, reason: message.message };
      }
    });
    child.on("error", (error) => (ended ??= { status: "failed", reason: error.message }));
    child.on("close", (code, signal) => {
      clearTimeout(timer);
      process.off("exit", kill);
      kill();
      const how = signal === null ? `exited with ${code}` : `was ended by ${signal}`;
      ended ??= { status: "failed", reason: `its process ${how}${complaint && `: ${complaint.trim()}`}` };
      resolve({ ...ended, value });
    });
  });
}

const LONGEST_COMPLAINT = 2_000;
