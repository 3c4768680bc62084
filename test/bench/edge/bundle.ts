// The edge as it is deployed: how large it is, and how long workerd takes to have it ready.

import { execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";
import { promisify } from "node:util";
import { gzipSync } from "node:zlib";
import { NODE, REPO, WRANGLER } from "../../../infra/stack/paths.ts";
import { freePorts } from "../../../infra/stack/ports.ts";
import { workFolder } from "../interrupt.ts";

const STARTS = 7;
const START_LIMIT_MS = 30_000;
const POLL_MS = 1;
const WORKERD = join(REPO, "node_modules", ".bin", "workerd");

export interface BundleReport {
  readonly size_kb: number;
  readonly gzip_kb: number;
  /** From the start of workerd to the first answer, less the same of an empty worker; median, ms. */
  readonly cold_start_ms: number;
  readonly empty_start_ms: number;
}

interface Module {
  readonly name: string;
  readonly kind: "esModule" | "text";
}

/** The main module first. */
function modulesOf(dir: string): Module[] {
  const files = readdirSync(dir).filter((name) => /\.(?:js|txt)$/.test(name));
  return files
    .toSorted((a, b) => Number(b.endsWith(".js")) - Number(a.endsWith(".js")))
    .map((name) => ({ name, kind: name.endsWith(".js") ? "esModule" : "text" }));
}

function configOf(modules: readonly Module[], port: number): string {
  const list = modules.map(({ name, kind }) => `(name = "./${name}", ${kind} = embed "${name}")`).join(", ");
  return `using Workerd = import "/workerd/workerd.capnp";
const config :Workerd.Config = (
  services = [(name = "main", worker = .edge)],
  sockets = [(name = "http", address = "127.0.0.1:${port}", http = (), service = "main")],
);
const edge :Workerd.Worker = (modules = [${list}], compatibilityDate = "2026-10-01");
`;
}

/** ms until the worker in `dir` answers. */
async function startMs(dir: string): Promise<number> {
  const [port = 0] = await freePorts(1);
  const config = join(dir, "config.capnp");
  writeFileSync(config, configOf(modulesOf(dir), port));
  const startedAt = performance.now();
  const child = spawn(WORKERD, ["serve", config], { stdio: "ignore" });
  const ended = once(child, "exit");
  try {
    while (performance.now() - startedAt < START_LIMIT_MS) {
      // Without its bindings the edge answers that it is not configured: that is an answer.
      const response = await fetch(`http://127.0.0.1:${port}/healthz`).catch(() => undefined);
      await response?.body?.cancel();
      if (response !== undefined) return performance.now() - startedAt;
      await delay(POLL_MS);
    }
    throw new Error("workerd did not start");
  } finally {
    child.kill("SIGKILL");
    await ended;
  }
}

const median = (values: readonly number[]): number =>
  values.toSorted((a, b) => a - b)[Math.floor(values.length / 2)] ?? Number.NaN;

export async function measureBundle(): Promise<BundleReport> {
  const { path: work, remove } = workFolder("vqd-bench-");
  try {
    const [edge, empty] = [join(work, "edge"), join(work, "empty")];
    const env = { ...process.env, WRANGLER_SEND_METRICS: "false", WRANGLER_WRITE_LOGS: "false" };
    const args = [WRANGLER, "deploy", "--dry-run", "--outdir", edge];
    await promisify(execFile)(NODE, args, { cwd: REPO, env });
    mkdirSync(empty);
    writeFileSync(join(empty, "index.js"), 'export default { fetch: () => new Response("ok") };\n');
    const files = modulesOf(edge).map(({ name }) => readFileSync(join(edge, name)));
    // Taken in turns, so that what else runs meets both.
    const times: Record<"edge" | "empty", number[]> = { edge: [], empty: [] };
    for (let i = 0; i < STARTS; i++) {
      times.empty.push(await startMs(empty));
      times.edge.push(await startMs(edge));
    }
    const kb = (sizes: readonly number[]): number => Math.round(sizes.reduce((a, b) => a + b, 0) / 1_024);
    return {
      size_kb: kb(files.map(({ length }) => length)),
      gzip_kb: kb(files.map((file) => gzipSync(file).length)),
      cold_start_ms: Math.round(median(times.edge) - median(times.empty)),
      empty_start_ms: Math.round(median(times.empty)),
    };
  } finally {
    remove();
  }
}
