// Workers scaled from zero and back by the query that the manifests have, which a real Prometheus answers; KEDA is played.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { backlogQuery } from "../../infra/k8s/render.ts";
import { freePorts } from "../../infra/stack/ports.ts";
import { isRunnable } from "../support/cli.ts";
import { createPrediction, getPrediction, type PredictionBody, request } from "./support/client.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

/** In Debian's package `prometheus`. */
const PROMETHEUS = process.env["VQD_PROMETHEUS"] || "prometheus";
const NAME = "vqd/checkpoint";
const MAX_WORKERS = 2;
const SOON = { timeout: 30_000, interval: 250 };

describe.skipIf(!isRunnable(PROMETHEUS))("workers", () => {
  let test: TestStack;
  let prometheus: ChildProcess;
  let prometheusUrl: string;
  let folder: string;
  let version: string;

  beforeAll(async () => {
    folder = mkdtempSync(join(tmpdir(), "vqd-prometheus-"));
    test = await startTestStack({ workers: 1, model: TINY_MODEL });
    const [port = 0] = await freePorts(1);
    prometheusUrl = `http://127.0.0.1:${port}`;
    writeFileSync(
      join(folder, "prometheus.yaml"),
      JSON.stringify({
        scrape_configs: [
          {
            job_name: "vqd-edge",
            scrape_interval: "500ms",
            scrape_timeout: "500ms",
            authorization: { credentials: test.apiKey },
            static_configs: [{ targets: [new URL(test.url).host] }],
          },
        ],
      }),
    );
    prometheus = spawn(
      PROMETHEUS,
      [
        `--config.file=${join(folder, "prometheus.yaml")}`,
        `--storage.tsdb.path=${join(folder, "data")}`,
        `--web.listen-address=127.0.0.1:${port}`,
      ],
      { stdio: "ignore" },
    );
    const models = await request(test, `/v1/models/${NAME}`);
    version = ((await models.json()) as { latest_version: { id: string } }).latest_version.id;
  });
  afterAll(async () => {
    prometheus.kill();
    await Promise.all([once(prometheus, "exit"), test.stop()]);
    rmSync(folder, { recursive: true, force: true });
  });

  /** The value of a query, as KEDA's scaler asks for it: none is 0. */
  async function query(text: string): Promise<number> {
    const answer = await fetch(`${prometheusUrl}/api/v1/query?${new URLSearchParams({ query: text })}`);
    const { data } = (await answer.json()) as { data: { result: { value: [number, string] }[] } };
    return Number(data.result[0]?.value[1] ?? 0);
  }
  /** Seconds of work; `share` of them ask for a worker. */
  const backlog = (share: number): Promise<number> => query(backlogQuery(NAME, version, share));
  const isScraped = () => query("up").catch(() => 0);

  /** What KEDA and the HorizontalPodAutoscaler do with `share` as average value, and a deployment of these workers with that. */
  async function scale(share: number): Promise<number> {
    const wanted = Math.min(MAX_WORKERS, Math.ceil((await backlog(share)) / share));
    const running = test.stack.workers.filter(({ state }) => state !== "stopped");
    if (running.length < wanted) await test.stack.addWorker();
    if (running.length > wanted) await running[0]?.stop();
    return wanted;
  }
  const create = (seed: number): Promise<PredictionBody> =>
    createPrediction(test, { prompt: "a", seed, num_inference_steps: 10, num_outputs: 10 });
  const statuses = (of: readonly PredictionBody[]): Promise<string[]> =>
    Promise.all(of.map(async ({ id }) => (await getPrediction(test, id)).status));

  it("leave when there is no work", async () => {
    await expect.poll(isScraped, SOON).toBe(1);
    await expect.poll(() => scale(1), SOON).toBe(0);
    expect(test.stack.workers.every(({ state }) => state === "stopped")).toBe(true);
  });

  it("come for a prediction whose pace nobody knows, which says that it is starting", async () => {
    const created = await create(1);
    await expect.poll(() => backlog(3), SOON).toBe(3);
    expect(await statuses([created])).toEqual(["starting"]);
    await expect.poll(() => scale(3), SOON).toBe(1);
    await expect.poll(() => statuses([created]), SOON).toEqual(["succeeded"]);
    await expect.poll(() => scale(3), SOON).toBe(0);
  });

  it("come for as many seconds of work as there are, and the last leaves when all is done", async () => {
    const waiting = await Promise.all([2, 3, 4, 5].map(create));
    const pace = async (): Promise<number> => {
      const model = (await (await request(test, `/v1/models/${NAME}`)).json()) as {
        seconds_per_image_step: number | null;
      };
      return model.seconds_per_image_step ?? 0;
    };
    await expect.poll(pace, SOON).toBeGreaterThan(0);
    const seconds = waiting.length * 10 * 10 * (await pace());
    const share = seconds / 1.5;
    await expect.poll(() => backlog(share), SOON).toBeCloseTo(seconds, 9);
    expect(await statuses(waiting)).toEqual(waiting.map(() => "starting"));
    let most = 0;
    const done = async (): Promise<string[]> => {
      most = Math.max(most, await scale(share));
      return statuses(waiting);
    };
    await expect.poll(done, SOON).toEqual(waiting.map(() => "succeeded"));
    expect(most).toBe(MAX_WORKERS);
    await expect.poll(() => scale(share), SOON).toBe(0);
  });
});
