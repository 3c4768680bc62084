// All tests: `unit` in Node, `component` with the parts it takes (models, processes, servers), `workerd` in the runtime of the
// edge, `integration` on the running system.

import { existsSync } from "node:fs";
import { availableParallelism } from "node:os";
import { defineConfig } from "vitest/config";

const WORKERD = "test/workerd/vitest.config.ts";

/** One file more than there are cores: they wait for disks, processes and deadlines for a good part of their time. */
const SIDE_BY_SIDE = { maxWorkers: availableParallelism() + 1 };

/** What a test waits for may take its time on a busy machine. */
const PATIENT = { expect: { poll: { timeout: 15_000 } } };

const SYSTEM = {
  ...PATIENT,
  setupFiles: ["test/setup/no-console.ts"],
  testTimeout: 120_000,
  // The first start with a model builds its graphs.
  hookTimeout: 300_000,
};

export default defineConfig({
  test: {
    // The reporter lists what takes longer: most tests here run real processes.
    slowTestThreshold: 10_000,
    // What a test logs is of interest if it fails.
    silent: "passed-only",
    projects: [
      {
        test: {
          ...SIDE_BY_SIDE,
          ...PATIENT,
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          setupFiles: ["test/setup/no-console.ts"],
          // Each takes a second at most, on a machine that has nothing else to do.
          testTimeout: 60_000,
          hookTimeout: 60_000,
        },
      },
      {
        test: {
          ...SIDE_BY_SIDE,
          ...PATIENT,
          name: "component",
          include: ["test/component/**/*.test.ts"],
          setupFiles: ["test/setup/no-console.ts"],
          // The longest take half a minute, and ten times that beside other work.
          testTimeout: 300_000,
          hookTimeout: 300_000,
        },
      },
      ...(existsSync(WORKERD) ? [WORKERD] : []),
      {
        test: {
          ...SYSTEM,
          ...SIDE_BY_SIDE,
          name: "integration",
          include: ["test/integration/**/*.test.ts", "test/chaos/**/*.test.ts"],
        },
      },
    ],
  },
});
