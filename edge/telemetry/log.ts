// The edge's logger: JSON lines on the console, which is where Workers collects logs.

import { createLogger, type Logger, type LogLevel } from "@vqd/shared/log.ts";

export function consoleLogger(level: LogLevel): Logger {
  // oxlint-disable-next-line no-console -- a Worker has no other log
  return createLogger((line) => console.log(line), level);
}
