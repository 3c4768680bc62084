// What a person reads of what the children print.

import { describe, expect, it } from "vitest";
import { formatLine, lineSplitter, parseNatsLine, parseWorkerLine } from "../../infra/stack/log.ts";
import { wranglerLineParser } from "../../infra/stack/wrangler-log.ts";

const JSON_LINE = JSON.stringify({
  time: "2026-11-23T12:00:00.000Z",
  level: "warn",
  msg: "job failed",
  prediction: "abc",
  attempt: 2,
  error: 'said "no"',
  code: null,
});
const JSON_TEXT = String.raw`job failed prediction=abc attempt=2 error="said \"no\"" code=null`;

describe("worker", () => {
  it("renders JSON as text", () => {
    expect(parseWorkerLine(JSON_LINE)).toEqual({ level: "warn", text: JSON_TEXT });
  });

  it("keeps what is not a log line, without colours, and drops blank lines", () => {
    expect(parseWorkerLine("\u001B[31mnode: bad option\u001B[39m ")).toEqual({
      level: "info",
      text: "node: bad option",
    });
    expect(parseWorkerLine('{"a":1}')).toEqual({ level: "info", text: '{"a":1}' });
    expect(parseWorkerLine("{broken")).toEqual({ level: "info", text: "{broken" });
    expect(parseWorkerLine("  ")).toBeUndefined();
  });
});

describe("nats", () => {
  const line = (tag: string, text: string): string => `[123] 2026/11/23 17:48:24.594305 [${tag}] ${text}`;

  it("turns tags into levels", () => {
    expect(parseNatsLine(line("INF", "Server is ready"))).toEqual({
      level: "debug",
      text: "Server is ready",
    });
    expect(parseNatsLine(line("WRN", "slow consumer"))).toEqual({ level: "warn", text: "slow consumer" });
    expect(parseNatsLine(line("ERR", "violation"))).toEqual({ level: "error", text: "violation" });
    expect(parseNatsLine(line("FTL", "no port"))).toEqual({ level: "error", text: "no port" });
  });

  it("takes the warnings of every start for information", () => {
    expect(parseNatsLine(line("WRN", "Plaintext passwords detected, use nkeys or bcrypt"))?.level).toBe(
      "debug",
    );
  });

  it("keeps what the server says before it can log", () => {
    expect(parseNatsLine("nats-server: unknown field")).toEqual({
      level: "error",
      text: "nats-server: unknown field",
    });
  });
});

describe("edge", () => {
  it("drops the banner and health checks", () => {
    const parse = wranglerLineParser();
    const banner = [
      "Using secrets defined in edge.env",
      "Your Worker has access to the following bindings:",
      "Binding                        Resource                  Mode",
      'env.NATS_URL ("(hidden)")      Environment Variable      local',
      "",
      "⎔ Starting local server...",
      "[wrangler:info] Ready on http://127.0.0.1:18787",
      "[wrangler:info] GET /healthz 503 Service Unavailable (3ms)",
    ];
    expect(banner.map((line) => parse(line))).toEqual(banner.map(() => undefined));
  });

  it("keeps the edge's lines, errors with their stack, and warnings", () => {
    const parse = wranglerLineParser();
    expect(parse(JSON_LINE)).toEqual({ level: "warn", text: JSON_TEXT });
    expect(parse("\u001B[31m✘ \u001B[41;31m[\u001B[41;97mERROR\u001B[41;31m]\u001B[0m boom")).toEqual({
      level: "error",
      text: "boom",
    });
    expect(parse("    at Object.fetch (file:///i.ts:1:231)")?.level).toBe("error");
    expect(parse(`✘ [ERROR] ${JSON_LINE}`)).toEqual({ level: "warn", text: JSON_TEXT });
    expect(parse("[wrangler:error] Error: boom")).toEqual({ level: "error", text: "Error: boom" });
    expect(parse("▲ [WARNING] old")).toEqual({ level: "warn", text: "old" });
    expect(parse("[wrangler:info] GET / 200 OK (15ms)")).toEqual({
      level: "debug",
      text: "GET / 200 OK (15ms)",
    });
    expect(parse("anything else")).toEqual({ level: "info", text: "anything else" });
  });
});

describe("formatLine", () => {
  it("puts the source in front, but not of the stack's own lines", () => {
    expect(formatLine({ source: "nats", level: "info", text: "x" }, false)).toBe("nats     │ x");
    expect(formatLine({ source: "worker 1", level: "error", text: "x" }, false)).toBe("worker 1 │ error: x");
    expect(formatLine({ source: "stack", level: "info", text: "nats pid 1" }, false)).toBe("nats pid 1");
  });

  it("has colours only when asked", () => {
    expect(formatLine({ source: "edge", level: "warn", text: "x" }, true)).toBe(
      "\u001B[36medge    \u001B[0m │ \u001B[33mx\u001B[0m",
    );
  });
});

describe("lineSplitter", () => {
  it("gives whole lines, whatever the pieces, and the last one at the end", () => {
    const lines: string[] = [];
    const split = lineSplitter((line) => lines.push(line));
    for (const piece of ["a", "b\nc\r", "\n\nd", "e"]) split(piece);
    expect(lines).toEqual(["ab", "c", ""]);
    split();
    expect(lines).toEqual(["ab", "c", "", "de"]);
    split();
    expect(lines).toHaveLength(4);
  });
});
