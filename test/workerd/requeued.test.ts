// A server that is killed may forget that a job was acknowledged. Its hub removes it from the queue when it connects again.

import { env } from "cloudflare:workers";
import { runInDurableObject } from "cloudflare:test";
import { jetstreamManager } from "@nats-io/jetstream";
import { wsconnect } from "@nats-io/nats-core";
import { expect, it } from "vitest";
import { unwrap } from "../../edge/prediction/hub-result.ts";
import { INBOX_PREFIX, STREAMS } from "../../shared/subjects.ts";
import { hubs, MODEL, newJob, newPrediction, PlayedWorker } from "./support.ts";

const SHARD = 2;

it("is not made again once it has ended, and what waits is left alone", async () => {
  const worker = await PlayedWorker.start();
  const nc = await wsconnect({
    servers: env.NATS_URL,
    user: "edge",
    pass: env.NATS_PASSWORD ?? "",
    inboxPrefix: INBOX_PREFIX.edge,
  });
  const jsm = await jetstreamManager(nc, { checkAPI: false });
  const hub = () => hubs.ofShard(SHARD);
  const column = (id: string, name: "job_seq" | "release"): Promise<number | null> =>
    runInDurableObject(hub(), (_, state) => {
      const query = `SELECT ${name} AS n FROM predictions WHERE id = ?`;
      return state.storage.sql.exec<{ n: number | null }>(query, id).one().n;
    });
  try {
    const job = newJob(SHARD, 5);
    unwrap(await hub().create(newPrediction(job, "owner")));
    await worker.next(MODEL, { acknowledges: false });
    await worker.play(job);
    await expect.poll(async () => unwrap(await hub().get(job.id, "owner")).status).toBe("succeeded");
    const sequence = (await column(job.id, "job_seq")) ?? expect.fail("it was never confirmed");

    await runInDurableObject(hub(), (_, state) => state.abort("the test kills it")).catch(() => {});
    const told = worker.canceled(job.id);
    const waiting = newJob(SHARD, 5);
    unwrap(await hub().create(newPrediction(waiting, "owner")));
    await told;
    await expect.poll(() => column(job.id, "release")).toBe(0);
    await expect(jsm.streams.deleteMessage(STREAMS.jobs, sequence)).rejects.toThrow(
      /no message found|sequence \d+ not found/,
    );
    const next = await worker.next();
    expect(next.id).toBe(waiting.id);
    await worker.play(next);
  } finally {
    await nc.close();
    await worker.close();
  }
});
