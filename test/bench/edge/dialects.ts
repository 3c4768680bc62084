// A create through each dialect, until its answer: of a job that a played worker ends at once, so that all wait for the same.

import { randomUUID } from "node:crypto";
import type { Stack } from "../../../infra/stack/stack.ts";
import { request } from "../../integration/support/client.ts";
import { atRate, PROMPT, WARM_UP } from "./dispatch.ts";
import { type Latency, latencyOf } from "./percentile.ts";
import { MODEL, PlayedWorker } from "./played-worker.ts";

export interface DialectReport extends Latency {
  readonly dialect: string;
}

interface Dialect {
  readonly path: string;
  readonly body: (prompt: string) => object;
  readonly headers?: Record<string, string>;
  /** Of the answer about a job that was canceled. */
  readonly status: number;
}

const WAIT = { prefer: "wait" };
const DIALECTS: Readonly<Record<string, Dialect>> = {
  "Replicate, waiting": {
    path: `/v1/models/${MODEL.name}/predictions`,
    body: (prompt) => ({ input: { prompt } }),
    headers: WAIT,
    status: 201,
  },
  "Replicate's deployments, waiting": {
    path: `/v1/deployments/${MODEL.name}/predictions`,
    body: (prompt) => ({ input: { prompt } }),
    headers: WAIT,
    status: 201,
  },
  OpenAI: { path: "/v1/images/generations", body: (prompt) => ({ prompt, model: MODEL.name }), status: 409 },
  "Hugging Face": { path: `/models/${MODEL.name}`, body: (prompt) => ({ inputs: prompt }), status: 409 },
};

/** ms, counted from when a request was due. */
export async function measureDialects(
  stack: Stack,
  requests: number,
  perSecond: number,
): Promise<DialectReport[]> {
  await using worker = await PlayedWorker.start(stack);
  const ending = new AbortController();
  const discarding = worker.discardJobs(ending.signal);
  const reports: DialectReport[] = [];
  try {
    for (const [dialect, { path, body, headers = {}, status }] of Object.entries(DIALECTS)) {
      const create = async (): Promise<void> => {
        const response = await request(stack, path, body(`${PROMPT}, ${randomUUID()}`), { headers });
        const text = await response.text();
        if (response.status !== status) throw new Error(`${dialect} answered ${response.status}: ${text}`);
      };
      await atRate(WARM_UP, perSecond, create);
      reports.push({ dialect, ...latencyOf(await atRate(requests, perSecond, create)) });
    }
    return reports;
  } finally {
    ending.abort();
    await discarding;
  }
}
