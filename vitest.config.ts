// All tests: `unit` in Node, `workerd` in the edge's runtime, `integration` on the running system.

import { existsSync } from "node:fs";
import { defineConfig } from "vitest/config";

const WORKERD = "test/workerd/vitest.config.ts";

export default defineConfig({
  test: {
    projects: [
      {
        test: {
          name: "unit",
          include: ["test/unit/**/*.test.ts"],
          setupFiles: ["test/setup/no-console.ts"],
          testTimeout: 20_000,
        },
      },
      ...(existsSync(WORKERD) ? [WORKERD] : []),
      {
        test: {
          name: "integration",
          include: ["test/integration/**/*.test.ts", "test/chaos/**/*.test.ts"],
          setupFiles: ["test/setup/no-console.ts"],
          // Each file starts processes that want all cores, and times what they do.
          fileParallelism: false,
          sequence: { groupOrder: 1 },
          testTimeout: 120_000,
          // The first start with a model builds its graphs.
          hookTimeout: 300_000,
        },
      },
    ],
  },
});
