// What a running stack tells of itself: metrics, traces and logs, and what it keeps to itself.

import { execFile } from "node:child_process";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { parse } from "yaml";
import { REPO } from "../../infra/stack/paths.ts";
import { selectorsOf } from "../support/promql.ts";
import { isRunnable } from "../support/cli.ts";
import { createPrediction, type PredictionBody, request } from "./support/client.ts";
import { type Collector, drawTrace, startCollector } from "./support/collector.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

const PROMPT = "a purple unicorn nobody may know of";
const TRACE_ID = "4bf92f3577b34da6a3ce929d0e0e4736";
const REQUEST_ID = "observed-request-1";
/** Prometheus' own tool; in Debian's package `prometheus`. */
const PROMTOOL = process.env["VQD_PROMTOOL"] || "promtool";
const hasPromtool = isRunnable(PROMTOOL);

let collector: Collector;
let test: TestStack;
let prediction: PredictionBody;
beforeAll(async () => {
  collector = await startCollector();
  const tracing = { OTEL_EXPORTER_OTLP_ENDPOINT: collector.url };
  test = await startTestStack({
    workers: 1,
    model: TINY_MODEL,
    workerEnv: tracing,
    edgeEnv: {
      ...tracing,
      OTEL_EXPORTER_OTLP_HEADERS: "authorization=Bearer%20collector",
      LOG_LEVEL: "debug",
    },
  });
  const input = { prompt: PROMPT, num_inference_steps: 4, seed: 1 };
  prediction = await createPrediction(test, input, {
    prefer: "wait",
    "x-request-id": REQUEST_ID,
    traceparent: `00-${TRACE_ID}-00f067aa0ba902b7-01`,
  });
});
afterAll(async () => {
  await test.stop();
  await collector[Symbol.asyncDispose]();
});

/** Those of the prediction's image and of its event stream. */
const capabilities = (): string[] =>
  [...(prediction.output ?? []), prediction.urls.stream].map(
    (url) => /[0-9a-hjkmnp-tv-z]{32}/.exec(url)?.[0] ?? "none",
  );

/** Requests what they allow, and what they do not, by every method; and last what is traced. */
async function useCapabilities(): Promise<void> {
  for (const url of [...(prediction.output ?? []), prediction.urls.stream]) {
    for (const [method, suffix] of [
      ["GET", ""],
      ["HEAD", ""],
      ["POST", ""],
      ["OPTIONS", ""],
      ["GET", "/more"],
      ["GET", "?last_event_id=x"],
    ] as const) {
      const response = await fetch(`${url}${suffix}`, {
        method,
        headers: { authorization: `Bearer ${test.apiKey}` },
      });
      await response.body?.cancel();
    }
  }
  await request(test, "/v1/account");
}

describe("a trace", () => {
  it("goes from the HTTP request through NATS to the decoded image and back into storage", async () => {
    const traced = () => collector.spans.filter(({ traceId }) => traceId === TRACE_ID);
    await expect
      .poll(
        () =>
          traced()
            .map(({ name }) => name)
            .toSorted(),
        { timeout: 10_000 },
      )
      .toEqual(
        [
          "POST /v1/predictions",
          "create prediction",
          "publish job",
          "process job",
          "load state",
          "acquire model",
          "encode prompts",
          "denoise",
          "decode image",
          "encode file",
          "flush events",
          "store image",
        ].toSorted(),
      );
    const spans = traced();
    const parentOf = (name: string): string | undefined => {
      const span = spans.find((one) => one.name === name);
      return spans.find(({ spanId }) => spanId === span?.parentSpanId)?.name;
    };
    expect(parentOf("create prediction")).toBe("POST /v1/predictions");
    expect(parentOf("publish job")).toBe("create prediction");
    expect(parentOf("process job")).toBe("publish job");
    expect(parentOf("denoise")).toBe("process job");
    expect(parentOf("decode image")).toBe("process job");
    expect(parentOf("store image")).toBe("process job");
    const root = spans.find(({ name }) => name === "POST /v1/predictions");
    expect(root?.parentSpanId).toBe("00f067aa0ba902b7");
    for (const { startTimeUnixNano: start, endTimeUnixNano: end } of spans) {
      expect(Math.abs(Number(start / 1_000_000n) - Date.now())).toBeLessThan(120_000);
      expect(end >= start).toBe(true);
    }
    if (process.env["VQD_SHOW_TRACE"]) process.stdout.write(`${drawTrace(spans)}\n`);
  });

  it("is not exported for a request without a valid key, whatever its flags", async () => {
    const asStranger = "0af7651916cd43dd8448eb211c80319c";
    const asOwner = "7d2b1c0a9e8f4d3c6b5a493827160504";
    const get = (trace: string, headers: Record<string, string>): Promise<Response> =>
      fetch(`${test.url}/v1/models`, {
        headers: { ...headers, traceparent: `00-${trace}-00f067aa0ba902b7-01` },
      });
    expect((await get(asStranger, {})).status).toBe(401);
    expect((await get(asStranger, { authorization: "Bearer wrong" })).status).toBe(401);
    expect((await get(asOwner, { authorization: `Bearer ${test.apiKey}` })).status).toBe(200);
    const traced = (trace: string) => collector.spans.filter(({ traceId }) => traceId === trace);
    await expect.poll(() => traced(asOwner).length, { timeout: 10_000 }).toBe(1);
    expect(traced(asStranger)).toEqual([]);
  });

  it("holds neither prompt nor key nor capability", async () => {
    await useCapabilities();
    const named = (name: string) => collector.spans.filter((span) => span.name === name);
    await expect.poll(() => named("GET /v1/account").length, { timeout: 10_000 }).toBeGreaterThan(0);
    const sent = collector.bodies.join("\n");
    for (const capability of capabilities()) expect(sent).not.toContain(capability);
    expect(sent).not.toContain("unicorn");
    expect(sent).not.toContain(test.apiKey);
    expect(sent).toContain('"POST /v1/predictions"');
  });
});

describe("logs", () => {
  it("name request, prediction and trace in both halves, and hold neither prompt nor key nor capability", async () => {
    await useCapabilities();
    const paths = () => test.lines.filter(({ text }) => /path=\/v1\/(?:files|streams)\//.test(text));
    await expect.poll(() => paths().length, { timeout: 10_000 }).toBeGreaterThan(5);
    const text = test.lines.map((line) => `${line.source} ${line.text}`).join("\n");
    expect(text).toMatch(new RegExp(`edge request .*requestId=${REQUEST_ID}`));
    expect(text).toMatch(new RegExp(`edge dispatched .*requestId=${REQUEST_ID}`));
    expect(text).toMatch(new RegExp(`worker 1 job started .*requestId=${REQUEST_ID} traceId=${TRACE_ID}`));
    expect(text).not.toContain("unicorn");
    expect(text).not.toContain(test.apiKey);
    for (const capability of capabilities()) expect(text).not.toContain(capability);
  });
});

/** Metric names (of a histogram without suffix) and their labels, of both halves. */
async function scrape(): Promise<{ worker: string; edge: string }> {
  const line = test.lines.find(({ text }) => text.startsWith("ready healthPort="));
  const port = line?.text.replace(/\D+/g, "");
  const worker = await fetch(`http://127.0.0.1:${port}/metrics`);
  const edge = await request(test, "/metrics");
  expect([worker.status, edge.status]).toEqual([200, 200]);
  expect(worker.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  expect(edge.headers.get("content-type")).toContain("text/plain; version=0.0.4");
  return { worker: await worker.text(), edge: await edge.text() };
}

function labelsByMetric(text: string): Map<string, Set<string>> {
  const found = new Map<string, Set<string>>();
  for (const line of text.split("\n")) {
    const [, name = "", labels = ""] = /^([a-z_:][\w:]*)(?:\{(.*)\})? \S+$/.exec(line) ?? [];
    if (name === "") continue;
    const known = found.get(name) ?? new Set();
    for (const [, label = ""] of labels.matchAll(/(\w+)="/g)) known.add(label);
    found.set(name, known);
  }
  return found;
}

describe("metrics", () => {
  it("tell of what has happened", async () => {
    const { worker, edge } = await scrape();
    expect(worker).toMatch(/^vqd_jobs_total\{model="vqd\/checkpoint",outcome="succeeded"\} 1$/m);
    expect(worker).toMatch(/^vqd_step_duration_seconds_count\{model="vqd\/checkpoint",batch="1"\} [1-9]/m);
    expect(worker).toMatch(/^vqd_worker_status\{status="ready"\} 1$/m);
    expect(worker).toMatch(/^vqd_queue_wait_seconds_count\{model="vqd\/checkpoint"\} 1$/m);
    expect(edge).toMatch(/^vqd_hub_predictions_total\{shard="0",status="succeeded"\} 1$/m);
    expect(edge).toMatch(/^vqd_hub_predictions_created_total\{shard="0"\} 1$/m);
    expect(edge).toMatch(/^vqd_hub_images_stored_total\{shard="0"\} 1$/m);
    expect(edge).toMatch(/^vqd_hub_prediction_duration_seconds_count\{shard="0"\} 1$/m);
  });

  it("have few series", async () => {
    const { worker, edge } = await scrape();
    for (const text of [worker, edge]) {
      expect(text.split("\n").filter((line) => line !== "" && !line.startsWith("#")).length).toBeLessThan(
        300,
      );
      expect(text).not.toContain(prediction.id);
    }
  });

  it.skipIf(!hasPromtool)("are what Prometheus' own parser and linter accept", async () => {
    const { worker, edge } = await scrape();
    for (const text of [worker, edge]) expect(await promtool(["check", "metrics"], text)).toBe("");
  });

  it("are those that the dashboard and the alerts ask for, with these labels", async () => {
    // Opens the hub's connection to NATS, if it has been idle: then it knows its place among the events.
    expect((await request(test, "/healthz")).status).toBe(200);
    const { worker, edge } = await scrape();
    const existing = labelsByMetric(worker + edge);
    // What Prometheus itself adds to what it scrapes.
    existing.set("up", new Set());
    const queries = [...dashboardQueries(), ...alertQueries()];
    expect(queries.length).toBeGreaterThan(30);
    for (const query of queries) {
      for (const { metric, labels } of selectorsOf(query)) {
        expect([...existing.keys()], query).toContain(metric);
        const known = [...(existing.get(metric) ?? []), "instance", "job"];
        if (metric !== "up") expect(known, query).toEqual(expect.arrayContaining(labels.filter(isOwn)));
      }
    }
    /** A query may group several metrics, not all of which have each label. */
    function isOwn(label: string): boolean {
      return label !== "instance";
    }
  });
});

const dashboardQueries = (): string[] => {
  const { panels } = JSON.parse(readFileSync(join(REPO, "infra/grafana/dashboard.json"), "utf8")) as {
    panels: { targets?: { expr: string }[] }[];
  };
  return panels.flatMap(({ targets = [] }) => targets.map(({ expr }) => expr));
};

interface Rules {
  groups: { rules: { alert: string; expr: string }[] }[];
}
const alertQueries = (): string[] =>
  (parse(readFileSync(join(REPO, "infra/grafana/alerts.yaml"), "utf8")) as Rules).groups.flatMap(
    ({ rules }) => rules.map(({ expr }) => expr),
  );

/** What it complains of; "" if it is content. */
function promtool(args: string[], input: string): Promise<string> {
  return new Promise((resolve) => {
    const child = execFile(PROMTOOL, args, (_error, stdout, stderr) => resolve((stdout + stderr).trim()));
    child.stdin?.end(input);
  });
}
