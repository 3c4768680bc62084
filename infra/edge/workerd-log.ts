// workerd's own messages, which it writes to standard error, as log entries like the edge's.

export interface WorkerdEntry {
  readonly level: "info" | "warn" | "error";
  readonly msg: string;
}

const LEVELS = { info: "info", warning: "warn", error: "error", fatal: "error" } as const;
const LINE = new RegExp(`^workerd/\\S+:\\d+: (${Object.keys(LEVELS).join("|")}): (.*)$`);

/** Of no use to an operator, or a way for strangers to fill the log. */
const NOISE = [
  /^\s*$/,
  // Addresses in workerd's executable.
  /^stack: /,
  // A webhook's host has a private address; the edge logs the attempt.
  / connecting to \S+ is not allowed/,
  // A client used the method CONNECT.
  /\bconnect\(\) function\b/,
];

/** As in the paths of images, which a failing disk would tell of. */
const CAPABILITY = /\b[0-9a-hjkmnp-tv-z]{32}\b/g;

/** Undefined for a line that is left out. */
export function workerdEntry(raw: string): WorkerdEntry | undefined {
  const line = raw.replace(CAPABILITY, "<capability>");
  if (NOISE.some((pattern) => pattern.test(line))) return undefined;
  const [, level, msg] = LINE.exec(line) ?? [];
  if (level === undefined || msg === undefined) return { level: "error", msg: line };
  return { level: LEVELS[level as keyof typeof LEVELS], msg };
}
