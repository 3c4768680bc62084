// Workers and edge are replaced one after the other while predictions are made, in both orders: none fails, and each image
// is the one that an undisturbed system makes.

import { jetstream } from "@nats-io/jetstream";
import { encodeJob } from "@vqd/shared/codec.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { connect } from "nats";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createPrediction, generateImage, getPrediction, request, upTo } from "./support/client.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

const STEPS = 60;
const SEEDS = 4;
const input = (seed: number) => ({ prompt: "a tree", num_inference_steps: STEPS, guidance_scale: 2, seed });
/** About as many predictions as two workers make. */
const PAUSE_MS = 250;
const FINISH_MS = 60_000;

let test: TestStack;
const expected = new Map<number, string>();
beforeAll(async () => {
  test = await startTestStack({ workers: 2, model: TINY_MODEL, leaseSeconds: 3 });
  for (const seed of upTo(SEEDS)) {
    expected.set(seed, (await generateImage(test, input(seed))).toString("base64"));
  }
});
afterAll(() => test.stop());

/** Makes a prediction, again if the edge is away or says to come back: as clients do. */
async function create(seed: number): Promise<string> {
  const until = Date.now() + FINISH_MS;
  for (;;) {
    const response = await request(test, "/v1/predictions", { input: input(seed) }).catch(() => undefined);
    if (response?.status === 201) return ((await response.json()) as { id: string }).id;
    if ((response !== undefined && response.status !== 503) || Date.now() > until) {
      throw new Error(`create answered ${response?.status}`);
    }
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

/** Makes predictions until `stop` aborts; gives their ids with their seeds. */
async function load(stop: AbortSignal): Promise<[string, number][]> {
  const made: [string, number][] = [];
  for (let n = 0; !stop.aborted; n++) {
    const seed = (n % SEEDS) + 1;
    made.push([await create(seed), seed]);
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  return made;
}

/** Jobs that a worker has now, by its log. */
function jobsOf(worker: string): number {
  const count = (start: RegExp): number =>
    test.lines.filter(({ source, text }) => source === worker && start.test(text)).length;
  return count(/^job started/) - count(/^job (done|handed back|canceled|failed)/);
}

const replaceWorkers = async (): Promise<void> => {
  for (const worker of test.stack.workers) {
    await expect.poll(() => jobsOf(worker.name), { timeout: FINISH_MS, interval: 10 }).toBeGreaterThan(0);
    await worker.kill("SIGTERM");
    await worker.waitReady();
  }
};
const replaceEdge = async (): Promise<void> => {
  await test.stack.edge.kill("SIGTERM");
  await test.stack.edge.waitReady();
};

const handedBack = (): number => test.lines.filter(({ text }) => text.startsWith("job handed back")).length;

it.each([
  ["workers, then the edge", [replaceWorkers, replaceEdge]],
  ["the edge, then workers", [replaceEdge, replaceWorkers]],
])("replaces %s under load", async (_order, replacements) => {
  const before = handedBack();
  const stop = new AbortController();
  const loading = load(stop.signal);
  for (const replace of replacements) await replace();
  stop.abort();
  const made = await loading;
  expect(made.length).toBeGreaterThan(10);
  const status = async (id: string): Promise<string> => (await getPrediction(test, id)).status;
  for (const [id, seed] of made) {
    await expect.poll(() => status(id), { timeout: FINISH_MS }).not.toMatch(/starting|processing/);
    const prediction = await getPrediction(test, id);
    expect(prediction.error).toBeNull();
    expect(prediction.status).toBe("succeeded");
    const image = await fetch(prediction.output?.[0] ?? "");
    expect(Buffer.from(await image.arrayBuffer()).toString("base64")).toBe(expected.get(seed));
  }
  // The load did meet the replacements: some jobs moved from one worker to another.
  expect(handedBack()).toBeGreaterThan(before);
});

it("leaves a job of a newer release to others, and goes on serving", async () => {
  const { data } = (await (await request(test, "/v1/models")).json()) as {
    data: { id: string }[];
  };
  const { models } = (await (await fetch(`${test.url}/healthz`)).json()) as {
    models: { name: string; version: string }[];
  };
  const [model] = models;
  if (model === undefined) throw new Error(`no model among ${data.length}`);
  const id = "00".padEnd(26, "0");
  const now = Date.now();
  const job = {
    v: 1 as const,
    id,
    shard: 0,
    model: model.name,
    version: model.version,
    createdAt: now,
    deadlineAt: now + 60_000,
    prompts: [[1, 2, 3]],
    negativePrompt: null,
    numInferenceSteps: 2,
    guidanceScale: 2,
    truncationRate: 1,
    numImagesPerPrompt: 1,
    seed: 1,
    scheduler: "reference" as const,
    priorRule: 0 as const,
    priorWeight: 0,
    outputFormat: "png" as const,
    outputQuality: 80,
    previews: 0,
  };
  const [line = ""] = new TextDecoder().decode(encodeJob(job)).split("\n");
  const newer = `${JSON.stringify({ ...JSON.parse(line), v: 2, style: "of another release" })}\n`;
  const nc = await connect({
    servers: test.stack.natsUrl,
    user: "edge",
    pass: test.stack.passwords.edge,
    inboxPrefix: "_INBOX_edge",
  });
  try {
    await jetstream(nc).publish(`vqd.jobs.${modelKey(model)}.normal`, newer);
    const left = () =>
      test.lines.filter(({ text }) => text.startsWith("handed back a job of another release")).length;
    // It comes back, since nobody can read it, and is never taken out of the queue.
    await expect.poll(left, { timeout: 20_000 }).toBeGreaterThan(1);
    const made = await createPrediction(test, input(1), { prefer: "wait" });
    expect(made.status).toBe("succeeded");
  } finally {
    await nc.close();
  }
});
