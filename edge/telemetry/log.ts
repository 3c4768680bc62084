// The edge's logger: JSON lines on the console, where Workers collects them.

import { createLogger, type Logger, type LogLevel } from "@vqd/shared/log.ts";

export function consoleLogger(level: LogLevel): Logger {
  // oxlint-disable-next-line no-console -- the console is a Worker's only log
  return createLogger((line) => console.log(line), level);
}
