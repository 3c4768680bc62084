// Fails a test that writes to the console: such a line is a forgotten one, or an error nobody looked at.

import { format } from "node:util";
import { afterEach, beforeEach, expect } from "vitest";

const METHODS = ["debug", "log", "info", "warn", "error", "trace"] as const;

const lines: string[] = [];

for (const method of METHODS) {
  const original = console[method];
  console[method] = (...args: unknown[]) => {
    lines.push(`console.${method}: ${format(...args)}`);
    original(...args);
  };
}

beforeEach(() => {
  lines.length = 0;
});

afterEach(() => {
  expect(lines, "nothing is written to the console").toEqual([]);
});
