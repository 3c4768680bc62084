// Tests that run inside workerd, with the edge's own bindings and a real nats-server.

import { generateKeyPairSync } from "node:crypto";
import { cloudflareTest } from "@cloudflare/vitest-plugin";
import { defineConfig } from "vitest/config";

/** SHA-256 of "test-key" and "other-key". */
const API_KEYS = [
  "test:62af8704764faf8ea82fc61ce9c4c3908b6cb97d463a634e9e587d7c885db0ef",
  "other:580843d03d2216ff1a275d0991bad66e4d1af871171d929e9de604b7959f9bca",
].join(",");

export default defineConfig({
  root: import.meta.dirname,
  plugins: [
    cloudflareTest(({ inject }) => ({
      wrangler: { configPath: "../../wrangler.toml" },
      // Not what workerd says of every object that a test kills and of every stream it leaves; errors it says anyway.
      verbose: false,
      miniflare: {
        bindings: {
          NATS_URL: inject("natsUrl"),
          NATS_USER: "edge",
          NATS_PASSWORD: inject("natsEdgePassword"),
          WORKER_PASSWORD: inject("natsWorkerPassword"),
          OPERATOR_PASSWORD: inject("natsOperatorPassword"),
          RECEIVER_PORT: String(inject("receiverPort")),
          SECOND_RECEIVER_PORT: String(inject("secondReceiverPort")),
          API_KEYS,
          // The tests' own model, whichever others they announce.
          DEFAULT_MODEL: "vqd/played",
          RECEIPT_KEY: generateKeyPairSync("ed25519")
            .privateKey.export({ type: "pkcs8", format: "pem" })
            .toString(),
          // Their receiver is on this machine.
          WEBHOOK_ALLOW_LOOPBACK: "true",
          // Jobs that a test takes and does not start count as waiting in the queue.
          DISPATCH_AHEAD: "14",
          LOG_LEVEL: "error",
        },
      },
    })),
  ],
  test: {
    name: "workerd",
    include: ["*.test.ts"],
    globalSetup: ["../support/workerd-nats.ts", "../support/workerd-receiver.ts"],
    setupFiles: ["./empty-queue.ts"],
    // The files share one nats-server and its queue.
    fileParallelism: false,
    testTimeout: 60_000,
    hookTimeout: 60_000,
    expect: { poll: { timeout: 10_000 } },
  },
});
