// What the edge adds to a dispatch: create by HTTP until the queue has confirmed it, beside the bare publish.

import { randomUUID } from "node:crypto";
import { setTimeout as delay } from "node:timers/promises";
import { jetstream } from "@nats-io/jetstream";
import { connect } from "nats";
import { encodeJob } from "@vqd/shared/codec.ts";
import type { Job } from "@vqd/shared/job.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { INBOX_PREFIX, jobSubject } from "@vqd/shared/subjects.ts";
import type { Stack } from "../../../infra/stack/stack.ts";
import { request } from "../../integration/support/client.ts";
import { type Latency, latencyOf } from "./percentile.ts";
import { MODEL, PlayedWorker } from "./played-worker.ts";
import { makeJob } from "../../support/job.ts";

export const WARM_UP = 50;

export interface DispatchReport {
  readonly requests: number;
  readonly per_second: number;
  /** ms, counted from when a request was due: one that has to wait for others counts its wait. */
  readonly edge: Latency;
  readonly nats: Latency;
  /** A request that asks the edge for nothing but its key: what HTTP takes. */
  readonly http: Latency;
}

/** Starts `count` calls at a fixed rate, whatever the earlier ones do, and gives what each took in ms. */
export async function atRate(count: number, perSecond: number, call: () => Promise<void>): Promise<number[]> {
  const startedAt = performance.now();
  const running: Promise<number>[] = [];
  for (let i = 0; i < count; i++) {
    const due = startedAt + (i * 1_000) / perSecond;
    await delay(Math.max(0, due - performance.now()));
    running.push(call().then(() => performance.now() - due));
  }
  return Promise.all(running);
}

export const PROMPT = "a watercolour of a lighthouse at dusk, gulls above the waves";

const exampleJob = (): Job =>
  makeJob({
    model: MODEL.name,
    version: MODEL.version,
    prompts: [Array.from({ length: MODEL.tokenizer.maxLength }, (_, i) => 40_000 + i)],
    numInferenceSteps: 100,
  });

export async function measureDispatch(
  stack: Stack,
  requests: number,
  perSecond: number,
): Promise<DispatchReport> {
  await using worker = await PlayedWorker.start(stack);
  const ending = new AbortController();
  const discarding = worker.discardJobs(ending.signal);
  const create = async (): Promise<void> => {
    const input = { prompt: `${PROMPT}, ${randomUUID()}` };
    const response = await request(stack, `/v1/models/${MODEL.name}/predictions`, { input });
    if (response.status !== 201)
      throw new Error(`create answered ${response.status}: ${await response.text()}`);
    await response.body?.cancel();
  };
  const ask = async (): Promise<void> => {
    await (await request(stack, "/v1/models")).body?.cancel();
  };
  // As the edge does it: with the edge's rights, confirmed, with a message id.
  const nc = await connect({
    servers: stack.natsUrl,
    user: "edge",
    pass: stack.passwords.edge,
    inboxPrefix: INBOX_PREFIX.edge,
  });
  const js = jetstream(nc, { checkAPI: false });
  const publish = async (): Promise<void> => {
    const job = exampleJob();
    await js.publish(jobSubject(modelKey(MODEL), "normal"), encodeJob(job), { msgID: job.id });
  };
  try {
    await atRate(WARM_UP, perSecond, create);
    await atRate(WARM_UP, perSecond, publish);
    const edge = latencyOf(await atRate(requests, perSecond, create));
    const nats = latencyOf(await atRate(requests, perSecond, publish));
    const http = latencyOf(await atRate(requests, perSecond, ask));
    return { requests, per_second: perSecond, edge, nats, http };
  } finally {
    await nc.close();
    ending.abort();
    await discarding;
  }
}
