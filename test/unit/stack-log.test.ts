// What a person reads of what the children print.

import { describe, expect, it } from "vitest";
import { workerdEntry } from "../../infra/edge/workerd-log.ts";
import { createLogger } from "@vqd/shared/log.ts";
import { formatLine, lineSplitter, parseJsonLog, parseNatsLine } from "../../infra/stack/log.ts";

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
    expect(parseJsonLog(JSON_LINE)).toEqual({ level: "warn", text: JSON_TEXT });
  });

  it("keeps what is not a log line, without colours, and drops blank lines", () => {
    expect(parseJsonLog("\u001B[31mnode: bad option\u001B[39m ")).toEqual({
      level: "info",
      text: "node: bad option",
    });
    expect(parseJsonLog('{"a":1}')).toEqual({ level: "info", text: '{"a":1}' });
    expect(parseJsonLog("{broken")).toEqual({ level: "info", text: "{broken" });
    expect(parseJsonLog("  ")).toBeUndefined();
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

describe("workerd", () => {
  it("has levels, and stands for what is no use to an operator", () => {
    expect(workerdEntry("workerd/server/server.c++:1: error: Uncaught exception: boom")).toEqual({
      level: "error",
      msg: "Uncaught exception: boom",
    });
    expect(workerdEntry("workerd/api/r2-rpc.c++:219: warning: no header; statusCode = 404")).toEqual({
      level: "warn",
      msg: "no header; statusCode = 404",
    });
    expect(workerdEntry("*** Received signal #11")).toEqual({
      level: "error",
      msg: "*** Received signal #11",
    });
    expect(workerdEntry("   ")).toBeUndefined();
    expect(workerdEntry("stack: /app/workerd@26b6840 /app/workerd@3739630")).toBeUndefined();
    // A path on a disk that fails.
    const capability = "0123456789abcdefghjkmnpqrstvwxyz";
    const failing = `workerd/server/server.c++:9: error: openat(fd, path): Input/output error; path = ${capability}/0.png`;
    expect(workerdEntry(failing)).toEqual({
      level: "error",
      msg: "openat(fd, path): Input/output error; path = <capability>/0.png",
    });
    expect(workerdEntry(`*** Fatal uncaught exception: ${capability}`)?.msg).not.toContain(capability);
    const refused =
      "workerd/jsg/util.c++:410: error: e = a.rs:1: failed: connecting to a.example:443 is not allowed";
    expect(workerdEntry(refused)).toBeUndefined();
  });
});

describe("formatLine", () => {
  it("puts the source in front, but not of the stack's own lines", () => {
    expect(formatLine({ source: "nats", level: "info", text: "x" }, false)).toBe("nats     │ x");
    expect(formatLine({ source: "worker 1", level: "error", text: "x" }, false)).toBe("worker 1 │ error: x");
    expect(formatLine({ source: "stack", level: "info", text: "nats pid 1" }, false)).toBe("nats pid 1");
  });

  it("shows characters that a terminal would act upon, in the line as in what is read back from it", () => {
    const path = "/\u001B]0;pwned\u0007\u009B2J\u007F\u202E";
    let line = "";
    createLogger((text) => (line = text)).info("request", { path });
    const shown = String.raw`/\u001b]0;pwned\u0007\u009b2J\u007f\u202e`;
    expect(line).toContain(`"path":"${shown}"`);
    const parsed = parseJsonLog(line);
    expect(parsed?.text).toBe(`request path=${path}`);
    expect(formatLine({ source: "edge", level: "info", text: parsed?.text ?? "" }, true)).toBe(
      `\u001B[36medge    \u001B[0m │ request path=${shown}`,
    );
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
