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

/** Of its own, whose events are written by hand here. */
const SHARD = 13;

const connectAs = (user: "edge" | "worker", pass: string): Promise<NatsConnection> =>
  wsconnect({ servers: env.NATS_URL, user, pass, inboxPrefix: INBOX_PREFIX[user], reconnect: false });

it.each([
  ["is behind by nothing once all has been applied, in whatever order, and been delivered again", 0],
  ["brings one again that fails after it has been passed over as under way", 1],
])("%s", async (_name, failuresOfSlow) => {
  const position = new EventsPosition();
  const slow = Promise.withResolvers<void>();
  const seen: string[] = [];
  const id = newPredictionId(SHARD);
  let tries = 0;
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
      handle: async ({ subject, data, sequence }) => {
        // Another test's.
        if (!subject.includes(id)) return cursor.advance(sequence);
        const text = new TextDecoder().decode(data);
        if (text === "0") await slow.promise;
        if (text === "0" && tries++ < failuresOfSlow) throw new Error("not now, either");
        // The consumer is made again, from the slow one on.
        if (text === "3" && failures++ === 0) throw new Error("not now");
        seen.push(text);
        cursor.advance(sequence);
      },
    });
    await follower.start();
    const played = await connectAs("worker", env.WORKER_PASSWORD);
    const subject = eventSubject(SHARD, MODEL_KEY, id);
    for (const text of ["0", "1", "2", "3", "4"]) await jetstream(played).publish(subject, text);
    await expect.poll(() => seen.includes("3") && seen.includes("4"), { timeout: 12_000 }).toBe(true);
    expect(position.behindSince).not.toBeNull();
    slow.resolve();
    await expect.poll(() => seen.includes("0") && position.behindSince, { timeout: 12_000 }).toBeNull();
    follower.stop();
    await Promise.all([nc.close(), played.close()]);
  });
  // A failure brings all that follows again.
  expect(failures).toBe(2 + failuresOfSlow);
});
