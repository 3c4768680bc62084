// `npm run bench -- hub`: how many predictions a second one hub takes to their ends, when their workers make a step in a millisecond.

import { readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { parseArgs } from "node:util";
import { jetstream } from "@nats-io/jetstream";
import type { Job } from "@vqd/shared/job.ts";
import { eventSubject } from "@vqd/shared/subjects.ts";
import { startStack, type Stack } from "../../infra/stack/stack.ts";
import { request } from "../integration/support/client.ts";
import { TINY_MODEL } from "../integration/support/stack.ts";
import { BENCH_KEY, MODEL, PlayedWorker } from "./edge/played-worker.ts";
import { framesOf } from "./edge/reporting.ts";
import { workFolder } from "./interrupt.ts";
import { inFlight } from "./simulate/in-flight.ts";

const HELP = `Usage: npm run bench -- hub [options]

  --predictions N  in a round [200]
  --steps N        of each [100]
  --rounds N       the best counts [3]
  --put-ms N       in every other round, each image takes so much longer to be stored
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text

What a worker would say of a prediction whose steps take 1 ms is made before the time is taken; then all is sent as fast as JetStream
takes it.
`;

const NO_LIMITS = {
  RATE_LIMIT_PER_MINUTE: "1000000",
  LIVE_LIMIT: "1000000",
  READ_LIMIT_PER_MINUTE: "1000000",
  WORK_LIMIT: "1000000000",
};
const AT_ONCE = 32;
const POLL_MS = 10;
const LIMIT_MS = 120_000;

const { values } = parseArgs({
  options: {
    predictions: { type: "string", default: "200" },
    steps: { type: "string", default: "100" },
    rounds: { type: "string", default: "3" },
    "put-ms": { type: "string", default: "0" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

async function succeeded(stack: Stack): Promise<number> {
  const text = await (await request(stack, "/metrics")).text();
  return Number(/^vqd_hub_predictions_total\{[^}]*succeeded[^}]*\} (\d+)/m.exec(text)?.[1] ?? Number.NaN);
}

async function create(stack: Stack, worker: PlayedWorker, steps: number): Promise<Job> {
  const input = { prompt: "a", num_inference_steps: steps };
  const answer = await request(stack, `/v1/models/${MODEL.name}/predictions`, { input });
  if (answer.status !== 201) throw new Error(`create answered ${answer.status}: ${await answer.text()}`);
  return worker.nextJob();
}

/** The put of a self-hosted bucket, as it is built. */
const PUT = "async #put(name, value) {";

/** The edge is started again with puts that take `ms` longer. */
async function delayPuts(stack: Stack, ms: number): Promise<void> {
  const path = join(stack.dataDir, "edge", "program", "bindings.js");
  const built = readFileSync(path, "utf8").replace(/\n.*\/\/ delayed/, "");
  if (!built.includes(PUT)) throw new Error(`${path} has no ${PUT}`);
  const wait = `await new Promise((resolve) => setTimeout(resolve, ${ms})); // delayed`;
  writeFileSync(path, built.replace(PUT, `${PUT}\n    ${wait}`));
  await stack.edge.kill();
  await stack.edge.waitReady();
}

async function round(stack: Stack, worker: PlayedWorker): Promise<{ predictions: number; messages: number }> {
  const [count, steps] = [Number(values.predictions), Number(values.steps)];
  const js = jetstream(worker.nc, { checkAPI: false });
  const jobs: { job: Job; frames: Uint8Array[] }[] = [];
  for (let i = 0; i < count; i++) {
    const job = await create(stack, worker, steps);
    const [started = new Uint8Array(), ...frames] = framesOf(job);
    // Of those that wait, few are in the queue.
    await js.publish(eventSubject(job.shard, BENCH_KEY, job.id), started);
    jobs.push({ job, frames });
  }
  const before = await succeeded(stack);
  const startedAt = performance.now();
  await inFlight(count, AT_ONCE, async (index) => {
    const one = jobs[index];
    for (const frame of one?.frames ?? []) {
      await js.publish(eventSubject(one?.job.shard ?? 0, BENCH_KEY, one?.job.id ?? ""), frame);
    }
  });
  const until = Date.now() + LIMIT_MS;
  while ((await succeeded(stack)) < before + count) {
    if (Date.now() > until) throw new Error("the predictions do not end");
    await new Promise((resolve) => setTimeout(resolve, POLL_MS));
  }
  const seconds = (performance.now() - startedAt) / 1_000;
  const messages = jobs.reduce((sum, { frames }) => sum + frames.length, 0);
  return { predictions: Math.round((10 * count) / seconds) / 10, messages: Math.round(messages / seconds) };
}

type Round = Awaited<ReturnType<typeof round>>;

const best = (rounds: readonly Round[]): Round | undefined =>
  rounds.toSorted((a, b) => b.predictions - a.predictions)[0];

function textOf(rounds: readonly Round[]): string {
  const { predictions = 0, messages = 0 } = best(rounds) ?? {};
  const all = rounds.map((one) => one.predictions).join(", ");
  return `${predictions} predictions/s of ${values.steps} steps, ${messages} messages/s (rounds: ${all})`;
}

if (values.help) {
  process.stdout.write(HELP);
} else {
  const { path: data, remove } = workFolder("vqd-bench-");
  const stack = await startStack({
    workers: 1,
    model: TINY_MODEL,
    otherModels: [BENCH_KEY],
    data,
    queueLimit: 100_000,
    edgeEnv: NO_LIMITS,
  });
  try {
    await stack.workers[0]?.stop();
    await using worker = await PlayedWorker.start(stack);
    const rounds: Round[] = [];
    const delayed: Round[] = [];
    const putMs = Number(values["put-ms"]);
    for (let i = 0; i < Number(values.rounds); i++) {
      if (putMs > 0) await delayPuts(stack, 0);
      rounds.push(await round(stack, worker));
      if (putMs === 0) continue;
      await delayPuts(stack, putMs);
      delayed.push(await round(stack, worker));
    }
    if (values.json) {
      process.stdout.write(`${JSON.stringify({ best: best(rounds), rounds, delayed })}\n`);
    } else {
      process.stdout.write(`${textOf(rounds)}\n`);
      if (putMs > 0) process.stdout.write(`with puts of ${putMs} ms more: ${textOf(delayed)}\n`);
    }
  } finally {
    await stack.stop();
    remove();
  }
}
