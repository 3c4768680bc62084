// Log lines of the stack: parses what the children print, and formats it for people.

import { stripVTControlCharacters } from "node:util";
import { type LogLevel, printable } from "@vqd/shared/log.ts";

export interface LogLine {
  /** "nats", "worker 1", "edge", or "stack" for the supervisor's own lines. */
  readonly source: string;
  readonly level: LogLevel;
  readonly text: string;
}

export type LogSink = (line: LogLine) => void;

/** Parses a child's line; undefined drops it. */
export type LineParser = (line: string) => Pick<LogLine, "level" | "text"> | undefined;

const LEVELS: ReadonlySet<string> = new Set<LogLevel>(["debug", "info", "warn", "error"]);

/** A JSON log line of worker or edge as `message key=value ...`; undefined if it is something else. */
function parseJsonLine(line: string): Pick<LogLine, "level" | "text"> | undefined {
  if (!line.startsWith("{")) return undefined;
  let entry: unknown;
  try {
    entry = JSON.parse(line);
  } catch {
    return undefined;
  }
  if (typeof entry !== "object" || entry === null || !("msg" in entry)) return undefined;
  const { time: _time, level, msg, ...fields } = entry as Record<string, unknown>;
  const details = Object.entries(fields).map(([key, value]) => `${key}=${renderValue(value)}`);
  return { level: isLevel(level) ? level : "info", text: [String(msg), ...details].join(" ") };
}

const isLevel = (value: unknown): value is LogLevel => typeof value === "string" && LEVELS.has(value);

function renderValue(value: unknown): string {
  if (typeof value !== "string") return JSON.stringify(value);
  return /^[^\s"=]+$/.test(value) ? value : JSON.stringify(value);
}

/** A line of a worker or the edge: JSON, or whatever else their runtimes print. */
export const parseJsonLog: LineParser = (line) => {
  const text = stripVTControlCharacters(line).trimEnd();
  if (text === "") return undefined;
  return parseJsonLine(text) ?? { level: "info", text };
};

/** Printed at every start, and irrelevant on loopback with a private configuration file. */
const NATS_EXPECTED_WARNINGS = ["Plaintext passwords detected", "Websocket not configured with TLS"];

/** `[pid] date time [INF] text`; the many informational lines become debug lines. */
export const parseNatsLine: LineParser = (line) => {
  const match = /^\[\d+\] \S+ \S+ \[(\w{3})\] (.*)$/.exec(line);
  if (match === null) return line.trim() === "" ? undefined : { level: "error", text: line };
  const [, tag = "", text = ""] = match;
  if (NATS_EXPECTED_WARNINGS.some((expected) => text.startsWith(expected))) return { level: "debug", text };
  if (tag === "ERR" || tag === "FTL") return { level: "error", text };
  if (tag === "WRN") return { level: "warn", text };
  return { level: "debug", text };
};

const PREFIX_WIDTH = "worker 1".length;
const RESET = "\u001B[0m";
const DIM = "\u001B[2m";
const LEVEL_COLORS: Record<LogLevel, string> = {
  debug: DIM,
  info: "",
  warn: "\u001B[33m",
  error: "\u001B[31m",
};
const SOURCE_COLORS: Record<string, string> = { nats: "\u001B[35m", edge: "\u001B[36m" };
const WORKER_COLOR = "\u001B[32m";

/** One line for the terminal; the supervisor's own lines have no prefix, so that scripts can match them. */
export function formatLine({ source, level, text: raw }: LogLine, color: boolean): string {
  const text = printable(raw);
  const paint = (code: string, part: string): string =>
    color && code !== "" ? `${code}${part}${RESET}` : part;
  const body = paint(
    LEVEL_COLORS[level],
    color || level === "info" || level === "debug" ? text : `${level}: ${text}`,
  );
  if (source === "stack") return body;
  return `${paint(SOURCE_COLORS[source] ?? WORKER_COLOR, source.padEnd(PREFIX_WIDTH))} │ ${body}`;
}

/** Splits a stream of text into lines and calls `onLine` for each; call the result without text at the end. */
export function lineSplitter(onLine: (line: string) => void): (text?: string) => void {
  let rest = "";
  return (text) => {
    const lines = (rest + (text ?? "\n")).split(/\r?\n/);
    rest = lines.pop() ?? "";
    if (text === undefined && lines.at(-1) === "") lines.pop();
    for (const line of lines) onLine(line);
  };
}
