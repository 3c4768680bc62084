// A vitest reporter that writes the counts of the run to the file named by VQD_TEST_COUNTS.

import { writeFileSync } from "node:fs";
import type { SerializedError } from "vitest";
import type { Reporter, TestModule } from "vitest/node";
import type { TestCounts } from "./test-counts.ts";

export default class CountReporter implements Reporter {
  onTestRunEnd(modules: readonly TestModule[], unhandledErrors: readonly SerializedError[]): void {
    const path = process.env["VQD_TEST_COUNTS"];
    if (path === undefined) return;
    const counts = { passed: 0, failed: unhandledErrors.length, skipped: 0 };
    for (const module of modules) {
      // Errors in the file itself or in hooks: they may leave no failed test.
      counts.failed += suiteErrors(module);
      for (const test of module.children.allTests()) {
        const { state } = test.result();
        // A test that never ran, for example because the run was interrupted, has not passed.
        counts[state === "pending" ? "failed" : state]++;
      }
    }
    writeFileSync(path, JSON.stringify(counts satisfies TestCounts));
  }
}

function suiteErrors(module: TestModule): number {
  let errors = module.errors().length;
  for (const suite of module.children.allSuites()) errors += suite.errors().length;
  return errors;
}
