// What of wrangler's output is worth reading: requests, errors and the edge's own lines, not its banner.

import { stripVTControlCharacters } from "node:util";
import { type LineParser, type LogLevel, parseJsonLine } from "./log.ts";

/** Lines of every start, and requests that only ask whether the edge is up. */
const NOISE = [
  /^\s*$/,
  /^─+/,
  /wrangler \d+\.\d+\.\d+/,
  /^Using (?:secrets|vars) defined in/,
  /^Your Worker has access to the following bindings/,
  /^Your Worker and resources are simulated locally/,
  /^Binding\s+Resource/,
  /^env\.\w+/,
  /^⎔ /,
  /^🪵 /u,
  /^\[wrangler:\w+\] (?:Ready on|Shutting down)/,
  /^\[wrangler:info\] \w+ \/healthz /,
];

const TAGS: readonly (readonly [RegExp, LogLevel])[] = [
  [/^\[wrangler:error\]\s*/, "error"],
  [/^\[wrangler:warn(?:ing)?\]\s*/, "warn"],
  [/^\[wrangler:\w+\]\s*/, "debug"],
  [/^✘ \[ERROR\]\s*/u, "error"],
  [/^▲ \[WARNING\]\s*/u, "warn"],
];

/** A parser for one run of wrangler. It remembers the level of a message for the indented lines that follow. */
export function wranglerLineParser(): LineParser {
  let previous: LogLevel = "info";
  return (raw) => {
    const line = stripVTControlCharacters(raw).trimEnd();
    if (NOISE.some((pattern) => pattern.test(line))) return undefined;
    for (const [tag, level] of TAGS) {
      if (!tag.test(line)) continue;
      const text = line.replace(tag, "");
      const entry = parseJsonLine(text) ?? { level, text };
      previous = entry.level;
      return entry;
    }
    const isContinuation = /^\s/.test(line);
    const entry = parseJsonLine(line) ?? { level: isContinuation ? previous : "info", text: line };
    previous = entry.level;
    return entry;
  };
}
