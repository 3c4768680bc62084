// Following events over a restart of the consumer while one of them is under way.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, wsconnect } from "@nats-io/nats-core";
import { expect, it } from "vitest";
import { StreamCursor } from "../../edge/hub/nats/cursor.ts";
import { EventFollower } from "../../edge/hub/nats/follow.ts";
import { EventsPosition } from "../../edge/hub/nats/position.ts";
import { PredictionStore } from "../../edge/hub/storage/store.ts";
import { newPredictionId } from "../../shared/ids.ts";
import { createLogger } from "../../shared/log.ts";
import { eventSubject, INBOX_PREFIX } from "../../shared/subjects.ts";
import { hubs, MODEL_KEY } from "./support.ts";

const SHARD = 7;

const connectAs = (user: "edge" | "worker", pass: string): Promise<NatsConnection> =>
  wsconnect({ servers: env.NATS_URL, user, pass, inboxPrefix: INBOX_PREFIX[user], reconnect: false });

it("is behind by nothing once all has been applied, in whatever order, and been delivered again", async () => {
  const position = new EventsPosition();
  const slow = Promise.withResolvers<void>();
  const seen: string[] = [];
  let failures = 0;
  await runInDurableObject(hubs.ofShard(SHARD), async (_, state) => {
    const nc = await connectAs("edge", env.NATS_PASSWORD ?? "");
    const session = { nc, js: jetstream(nc), jsm: await jetstreamManager(nc, { checkAPI: false }) };
    const cursor = new StreamCursor(new PredictionStore(state.storage));
    const follower = new EventFollower({
      session,
      shard: SHARD,
      cursor,
      position,
      log: createLogger(() => {}),
      room: () => undefined,
      handle: async ({ data, sequence }) => {
        const text = new TextDecoder().decode(data);
        if (text === "0") await slow.promise;
        // The consumer is made again, from the slow one on.
        if (text === "3" && failures++ === 0) throw new Error("not now");
        seen.push(text);
        cursor.advance(sequence);
      },
    });
    await follower.start();
    const played = await connectAs("worker", env.WORKER_PASSWORD);
    const subject = eventSubject(SHARD, MODEL_KEY, newPredictionId(SHARD));
    for (const text of ["0", "1", "2", "3", "4"]) await jetstream(played).publish(subject, text);
    await expect.poll(() => seen.includes("3") && seen.includes("4"), { timeout: 12_000 }).toBe(true);
    expect(position.behindSince).not.toBeNull();
    slow.resolve();
    await expect.poll(() => position.behindSince).toBeNull();
    follower.stop();
    await Promise.all([nc.close(), played.close()]);
  });
  expect(failures).toBe(2);
});
