// Ctrl-C in a bench: leaving by process.exit() lets the stack kill what it has started.

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
