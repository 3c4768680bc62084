// `npm run bench -- edge`: what the edge adds to a dispatch, creates through each dialect, its readers, its tokenizer, its size and start.

import { parseArgs } from "node:util";
import { startStack } from "../../infra/stack/stack.ts";
import { TINY_MODEL } from "../integration/support/stack.ts";
import { BENCH_KEY } from "./edge/played-worker.ts";
import { measureBundle } from "./edge/bundle.ts";
import { measureDialects } from "./edge/dialects.ts";
import { measureDispatch } from "./edge/dispatch.ts";
import { measureReaders } from "./edge/readers.ts";
import { measureTokenizer } from "./edge/tokenizer.ts";
import { workFolder } from "./interrupt.ts";
import { asLine, describeMachine } from "./machine.ts";

const HELP = `Usage: npm run bench -- edge [options]

  --requests N     of the dispatch [1000]
  --rate N         of them in a second [50]
  --readers N      of one prediction's event stream; 0 leaves them out [200]
  --rounds N       of readers, of 30 s each [3]
  --json           JSON alone on stdout (with npm run -s)
  -h, --help       this text

The memory of readers is read from /proc, so this option is Linux-only.
`;

const QUEUE_LIMIT = 10_000;
/** One key makes more here than a caller may. */
const NO_LIMITS = {
  RATE_LIMIT_PER_MINUTE: "1000000",
  LIVE_LIMIT: "1000000",
  READ_LIMIT_PER_MINUTE: "1000000",
};

const { values } = parseArgs({
  options: {
    requests: { type: "string", default: "1000" },
    rate: { type: "string", default: "50" },
    readers: { type: "string", default: "200" },
    rounds: { type: "string", default: "3" },
    json: { type: "boolean", default: false },
    help: { type: "boolean", short: "h", default: false },
  },
});

function number(name: "requests" | "rate" | "readers" | "rounds", min: number): number {
  const value = Number(values[name]);
  if (!Number.isInteger(value) || value < min) throw new Error(`--${name} must be an integer from ${min}`);
  return value;
}

async function measure() {
  const [requests, rate] = [number("requests", 1), number("rate", 1)];
  const [readers, rounds] = [number("readers", 0), number("rounds", 1)];
  const tokenizer = measureTokenizer();
  const bundle = await measureBundle();
  const { path: data, remove } = workFolder("vqd-bench-");
  // The edge is ready once there is a model; then the bench plays the worker itself.
  const stack = await startStack({
    workers: 1,
    model: TINY_MODEL,
    otherModels: [BENCH_KEY],
    data,
    queueLimit: QUEUE_LIMIT,
    edgeEnv: NO_LIMITS,
  });
  try {
    await stack.workers[0]?.stop();
    return {
      machine: describeMachine(),
      dispatch: await measureDispatch(stack, requests, rate),
      dialects: await measureDialects(stack, requests, rate),
      tokenizer,
      bundle,
      readers: readers === 0 ? [] : await measureReaders(stack, readers, rounds),
    };
  } finally {
    await stack.stop();
    remove();
  }
}

function table({
  machine,
  dispatch,
  dialects,
  tokenizer,
  bundle,
  readers,
}: Awaited<ReturnType<typeof measure>>): string {
  const { edge, nats, http } = dispatch;
  const latency = (name: string, { p50, p99, max }: typeof edge): string =>
    `| ${name} | ${p50} | ${p99} | ${max} |`;
  return [
    asLine(machine),
    "",
    `| ${dispatch.requests} at ${dispatch.per_second}/s, ms | p50 | p99 | max |`,
    "| --- | --- | --- | --- |",
    latency("create, until the queue has it", edge),
    latency("the same publish, straight to NATS", nats),
    latency("`GET /v1/models`", http),
    ...dialects.map(({ dialect, ...times }) => latency(`${dialect}, until the answer`, times)),
    "",
    `tokenizer: ${tokenizer.prompts_per_second} prompts/s, ${tokenizer.unseen_prompts_per_second} of new words; made in ${tokenizer.setup_ms} ms`,
    `bundle: ${bundle.size_kb} KiB, ${bundle.gzip_kb} KiB gzipped; ready ${bundle.cold_start_ms} ms after an empty worker (${bundle.empty_start_ms} ms)`,
    "",
    ...(readers.length === 0
      ? []
      : [
          "| readers | stayed | saw all once | events | MB each | workerd before, most, after (MiB) | delay p50, p99 (ms) |",
          "| --- | --- | --- | --- | --- | --- | --- |",
        ]),
    ...readers.map(
      ({ readers: count, stayed, complete, events, stream_mb, rss_mb, delay_ms }) =>
        `| ${count} | ${stayed} | ${complete} | ${events} | ${stream_mb} | ${rss_mb.before}, ${rss_mb.most}, ${rss_mb.after} | ${delay_ms.p50}, ${delay_ms.p99} |`,
    ),
    "",
  ].join("\n");
}

if (values.help) {
  process.stdout.write(HELP);
} else {
  const report = await measure();
  process.stdout.write(
    values.json ? `${JSON.stringify(report)}\n` : `${table(report)}\n${JSON.stringify(report)}\n`,
  );
}
