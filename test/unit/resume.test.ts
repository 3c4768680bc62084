// From which states a job continues, and what the worker says of it.

import { expect, it } from "vitest";
import { createLogger } from "../../shared/log.ts";
import { encodeTokens } from "../../shared/codec.ts";
import type { Broker, StoredState } from "../../gpu-worker/nats/broker.ts";
import { JobRunner } from "../../gpu-worker/jobs/runner.ts";
import type { HostedModel, ModelHost } from "../../gpu-worker/serving/model-host.ts";
import { makeJob } from "../support/job.ts";

const NUMERICS = "0123456789abcdef";
const CODES = 8;
const job = makeJob({ model: "vqd/tiny", version: "a".repeat(64), prompts: [[0]] });
const tokens = Uint16Array.of(1, CODES, 3, 0);

/** A runner whose model is on a device of that kind, and what it logs. */
function runner(batchInvariant: boolean | undefined): { runner: JobRunner; lines: string[] } {
  const info = { numericsId: NUMERICS, latentHeight: 2, latentWidth: 2, numEmbeddings: CODES };
  const models = { get: () => ({ info, batchInvariant }) as HostedModel } as unknown as ModelHost;
  const lines: string[] = [];
  const log = createLogger((line) => void lines.push((JSON.parse(line) as { msg: string }).msg));
  return { runner: new JobRunner({ models, broker: {} as Broker, workerName: "w", log }), lines };
}

const stored = (numericsId: string, held = tokens): StoredState => ({
  subject: "vqd.state",
  sequence: 1,
  value: { v: 1, attempt: 1, numericsId, step: 4, images: 1, starts: 0, claims: 1, owner: "w" },
  attachment: encodeTokens(held),
});

it.each([
  [undefined, []],
  [true, []],
  [false, ["the job continues, but not to the bit as if it had not been interrupted"]],
])("continues where a device's batch invariance is %s, and says what that means", (invariant, said) => {
  const { runner: own, lines } = runner(invariant);
  expect(own.usableState(job, "key", stored(NUMERICS))).toEqual({ step: 4, tokens });
  expect(lines).toEqual(said);
});

it("starts over from another device's state, and from one that does not fit", () => {
  const { runner: own, lines } = runner(false);
  expect(own.usableState(job, "key", stored("fedcba9876543210"))).toBeUndefined();
  expect(own.usableState(job, "key", stored(NUMERICS, tokens.slice(1)))).toBeUndefined();
  expect(own.usableState(job, "key", stored(NUMERICS, tokens.with(0, CODES + 1)))).toBeUndefined();
  expect(lines).toEqual([
    "the job's state was made with different numerics; starting over",
    "the job's state does not fit the job; starting over",
    "the job's state holds unknown classes; starting over",
  ]);
});
