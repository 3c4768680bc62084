// `npm run bench -- cost`: what a prediction takes in messages, rows and bytes, counted by nats-server's client and by the hub.

import { parseArgs } from "node:util";
import { startStack } from "../../infra/stack/stack.ts";
import { TINY_MODEL } from "../integration/support/stack.ts";
import { BENCH_KEY, PlayedWorker } from "./edge/played-worker.ts";
import { type Case, type Cost, costOf } from "./cost/count.ts";
import { workFolder } from "./interrupt.ts";

const HELP = `Usage: npm run bench -- cost [options]

  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text

One prediction at a time is played, at the given pace, from its creation until everything of it has been deleted.
`;

const CASES: readonly Case[] = [
  { steps: 100, images: 1, stepMs: 10 },
  { steps: 25, images: 1, stepMs: 1 },
  { steps: 25, images: 1, stepMs: 100 },
  { steps: 25, images: 10, stepMs: 1 },
  { steps: 25, images: 10, stepMs: 100 },
  { steps: 100, images: 1, stepMs: 1 },
  { steps: 100, images: 1, stepMs: 100 },
  { steps: 100, images: 10, stepMs: 1 },
  { steps: 100, images: 10, stepMs: 100 },
];
/** Everything is deleted within seconds, so that deletions are counted. */
const SHORT = {
  STEP_RETENTION_SECONDS: "1",
  FILE_RETENTION_SECONDS: "1",
  RECORD_RETENTION_SECONDS: "1",
};

async function measure(): Promise<(Case & Cost)[]> {
  const { path: data, remove } = workFolder("vqd-bench-");
  // The edge is ready once there is a model; then the bench plays the worker itself.
  const stack = await startStack({
    workers: 1,
    model: TINY_MODEL,
    otherModels: [BENCH_KEY],
    data,
    edgeEnv: SHORT,
  });
  try {
    await stack.workers[0]?.stop();
    await using worker = await PlayedWorker.start(stack);
    const results: (Case & Cost)[] = [];
    for (const one of CASES) results.push(Object.assign({}, one, await costOf(stack, worker, one)));
    return results;
  } finally {
    await stack.stop();
    remove();
  }
}

const { values } = parseArgs({
  options: {
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

if (values.help) {
  process.stdout.write(HELP);
} else {
  const results = await measure();
  const rows = results.map(
    ({ steps, images, stepMs, messages, messageBytes, rows: written }) =>
      `| ${steps} | ${images} | ${stepMs} | ${messages} | ${Math.round(messageBytes / 1_000)} | ${written} |`,
  );
  const table = [
    "| steps | images | ms a step | stored messages | kB | rows written |",
    "| ---: | ---: | ---: | ---: | ---: | ---: |",
    ...rows,
  ].join("\n");
  process.stdout.write(values.json ? `${JSON.stringify(results)}\n` : `${table}\n`);
}
