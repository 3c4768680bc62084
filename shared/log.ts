// Structured logs: one JSON object per line. Never log a prompt, a key or a capability.

export type LogLevel = "debug" | "info" | "warn" | "error";
export type LogFields = Record<string, string | number | boolean | null | undefined>;

export interface Logger {
  debug(message: string, fields?: LogFields): void;
  info(message: string, fields?: LogFields): void;
  warn(message: string, fields?: LogFields): void;
  error(message: string, fields?: LogFields): void;
  /** A logger that adds `fields` to every line. */
  with(fields: LogFields): Logger;
}

/** Characters that a terminal interprets instead of printing: controls and changes of direction. */
const UNPRINTABLE = /[\p{Cc}\u061C\u200E\u200F\u2028-\u202E\u2066-\u2069]/gu;

/**
 * Text that cannot control the terminal that shows it: line ends and tabs stay, other such characters are written as in JSON
 * (\u001b). Others choose parts of what is logged and shown: paths, models' names, tensors' names. JSON remains the same JSON.
 */
export const printable = (text: string): string =>
  text.replace(UNPRINTABLE, (character) =>
    character === "\n" || character === "\t"
      ? character
      : `\\u${character.charCodeAt(0).toString(16).padStart(4, "0")}`,
  );

const ORDER: Record<LogLevel, number> = { debug: 0, info: 1, warn: 2, error: 3 };

/** Passes lines of at least `level` to `write`, without a line end. */
export function createLogger(
  write: (line: string) => void,
  level: LogLevel = "info",
  bound: LogFields = {},
): Logger {
  const at =
    (own: LogLevel) =>
    (msg: string, fields: LogFields = {}): void => {
      if (ORDER[own] < ORDER[level]) return;
      const line = JSON.stringify({ time: new Date().toISOString(), level: own, msg, ...bound, ...fields });
      // JSON escapes few of them itself.
      write(printable(line));
    };
  return {
    debug: at("debug"),
    info: at("info"),
    warn: at("warn"),
    error: at("error"),
    with: (fields) => createLogger(write, level, { ...bound, ...fields }),
  };
}

/** What to log about an unknown error: its message and its code, if any. */
export function errorFields(error: unknown): LogFields {
  if (!(error instanceof Error)) return { error: String(error) };
  const code = "code" in error && typeof error.code === "string" ? error.code : undefined;
  return code === undefined ? { error: error.message } : { error: error.message, code };
}
