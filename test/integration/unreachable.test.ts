// A worker whose NATS does not answer: it waits for it, and says so.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { TINY_MODEL } from "./support/stack.ts";

it("says that it cannot reach NATS, without the password, and stops when it is told to", async () => {
  const worker = spawn(process.execPath, [join(REPO, "gpu-worker", "main.ts")], {
    // Nothing listens on port 1.
    env: {
      ...process.env,
      VQD_MODEL: TINY_MODEL,
      VQD_NATS_URL: "nats://worker:pass-of-test@127.0.0.1:1",
      VQD_HEALTH_PORT: "0",
    },
    stdio: ["ignore", "pipe", "inherit"],
  });
  const closed = once(worker, "close");
  try {
    for await (const line of createInterface(worker.stdout)) {
      expect(line).not.toContain("pass-of-test");
      if (!line.includes("NATS not reachable yet")) continue;
      expect(JSON.parse(line)).toMatchObject({ servers: "127.0.0.1:1" });
      worker.kill("SIGTERM");
    }
    expect(await closed).toEqual([0, null]);
  } finally {
    worker.kill("SIGKILL");
  }
});
