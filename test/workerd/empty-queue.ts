// Before each file: the jobs that the file before has left, whose hub is gone, leave the queue.

import { env } from "cloudflare:workers";
import { jetstreamManager } from "@nats-io/jetstream";
import { wsconnect } from "@nats-io/nats-core";
import { beforeAll } from "vitest";
import { INBOX_PREFIX, STREAMS } from "../../shared/subjects.ts";

beforeAll(async () => {
  const nc = await wsconnect({
    servers: env.NATS_URL,
    user: "operator",
    pass: env.OPERATOR_PASSWORD,
    inboxPrefix: INBOX_PREFIX.operator,
    reconnect: false,
  });
  try {
    const jsm = await jetstreamManager(nc, { checkAPI: false });
    await jsm.streams.purge(STREAMS.jobs);
  } finally {
    await nc.close();
  }
});
