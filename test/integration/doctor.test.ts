// `vqd doctor` on deployments that are broken in one way each: it names what is wrong.

import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createServer, connect as connectSocket, type Server } from "node:net";
import { createServer as createHttpServer } from "node:http";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { parseArgs, promisify } from "node:util";
import { jetstream, jetstreamManager } from "@nats-io/jetstream";
import { STREAMS } from "@vqd/shared/subjects.ts";
import { connect } from "nats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { diagnose } from "../../gpu-worker/doctor/diagnose.ts";
import type { Finding } from "../../gpu-worker/doctor/findings.ts";
import { natsConfig } from "../../infra/nats/config.ts";
import { createCa, createCertificate } from "../../infra/nats/cluster/certificates.ts";
import { ClusterFiles } from "../../infra/nats/cluster/files.ts";
import { applyStreams } from "../../infra/nats/streams.ts";
import { ensureNatsServer } from "../../infra/nats/server.ts";
import { Child } from "../../infra/stack/children/child.ts";
import { parseNatsLine } from "../../infra/stack/log.ts";
import { NODE, REPO } from "../../infra/stack/paths.ts";
import { freePorts } from "../../infra/stack/ports.ts";
import { TINY_KEY } from "./support/nats.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

type Env = Record<string, string>;
let test: TestStack;
let dir: string;
const stops: (() => Promise<unknown> | void)[] = [];

beforeAll(async () => {
  dir = mkdtempSync(join(tmpdir(), "vqd-doctor-test-"));
  test = await startTestStack({ workers: 1, model: TINY_MODEL, queueLimit: 2 });
});
afterAll(async () => {
  for (const stop of stops.toReversed()) await stop();
  await test.stop();
  rmSync(dir, { recursive: true, force: true });
});

/** What a doctor finds, without what is in order; `args` as on the command line. */
async function doctor(args: readonly string[], env: Env): Promise<{ code: number; found: Finding[] }> {
  const { values, positionals } = parseArgs({
    args: [...args],
    options: {
      url: { type: "string" },
      "model-version": { type: "string" },
      "min-free": { type: "string", default: "0" },
    },
    allowPositionals: true,
  });
  const findings = await diagnose({
    part: positionals[0] === "worker" ? "worker" : "system",
    env,
    url: values.url,
    apiKey: env["VQD_API_KEY"],
    modelVersion: values["model-version"],
    minFreeGib: Number(values["min-free"]),
    data: undefined,
  });
  return {
    code: findings.hasProblems ? 1 : 0,
    found: findings.all.filter(({ level }) => level !== "ok"),
  };
}

/** Expects that exactly these checks complain, and of what. */
function expectOnly(
  { code, found }: { code: number; found: Finding[] },
  check: string,
  message: RegExp,
  level: Finding["level"] = "problem",
): void {
  const complaints = new Set(found.map((one) => one.check));
  expect([...complaints], JSON.stringify(found)).toEqual([check]);
  expect(found[0]).toMatchObject({ level, message: expect.stringMatching(message) as string });
  expect(code).toBe(level === "problem" ? 1 : 0);
}

const natsEnv = (user: "monitor" | "worker", url = test.stack.natsUrl): Env => ({
  VQD_NATS_URL: url,
  VQD_NATS_USER: user,
  VQD_NATS_PASSWORD: test.stack.passwords[user],
});
const workerEnv = (env: Env = {}): Env => ({
  ...natsEnv("worker"),
  VQD_MODEL: TINY_MODEL,
  VQD_CACHE: join(dir, "cache"),
  ...env,
});

/** A nats-server with the stack's configuration, changed. */
async function startNats(change: (config: Record<string, unknown>) => object): Promise<string> {
  const [client = 0, websocket = 0, monitor = 0] = await freePorts(3);
  const folder = mkdtempSync(join(dir, "nats-"));
  const text = natsConfig({
    storeDir: join(folder, "store"),
    ports: { client, websocket, monitor },
    passwords: test.stack.passwords,
    modelKeys: [TINY_KEY],
  });
  const path = join(folder, "nats-server.conf");
  writeFileSync(path, JSON.stringify(change(JSON.parse(text) as Record<string, unknown>)));
  await startServer(path);
  return `nats://127.0.0.1:${client}`;
}

async function startServer(config: string): Promise<Child> {
  const { path } = await ensureNatsServer({ binDir: join(REPO, ".vqd", "bin"), log: () => {} });
  const spec = {
    name: "nats",
    command: path,
    args: ["--config", config],
    cwd: REPO,
    env: { ...process.env },
    parser: () => parseNatsLine,
    ready: async ({ line }: { line: (pattern: RegExp) => Promise<string> }) =>
      void (await line(/\[INF\] Server is ready/)),
    readyLimitMs: 20_000,
    stopLimitMs: 5_000,
  };
  const server = new Child(spec, { log: () => {}, onProcess: () => {} });
  stops.push(() => server.stop());
  await server.start();
  return server;
}

async function listen(server: Server): Promise<number> {
  const [port = 0] = await freePorts(1);
  await new Promise<void>((resolve) => {
    server.listen(port, "127.0.0.1", resolve);
  });
  return port;
}

it("has nothing to say of a deployment that is in order, from all ends", async () => {
  const system = await doctor(["--url", test.url], { ...natsEnv("monitor"), VQD_API_KEY: test.apiKey });
  expect(system).toEqual({ code: 0, found: [] });
  const worker = await doctor(["worker", "--url", test.url], workerEnv());
  expect(worker).toEqual({ code: 0, found: [] });
});

describe("vqd doctor", () => {
  async function vqd(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
    const cli = join(REPO, "gpu-worker", "cli.ts");
    const env = { ...process.env, ...natsEnv("monitor"), VQD_NATS_PASSWORD: "wrong" };
    return promisify(execFile)(NODE, [cli, "doctor", ...args], { env }).then(
      (output) => ({ code: 0, ...output }),
      (error: unknown) => error as { code: number; stdout: string; stderr: string },
    );
  }

  it("prints what it finds, for people and as JSON, and ends with 1 if there is a problem", async () => {
    const { code, stdout } = await vqd("--url", test.url);
    expect(code).toBe(1);
    expect(stdout).toMatch(/^PROBLEM {2}nats\.credentials +.*rejects user monitor/m);
    expect(stdout).toMatch(/^ok {7}edge\.nats/m);
    expect(stdout).toMatch(/^1 problem, 0 warnings$/m);
    const json = JSON.parse((await vqd("--json")).stdout) as Finding[];
    expect(json[0]).toMatchObject({ check: "nats.credentials", level: "problem" });
  });

  it.each([[["nurse"]], [["--url", "ftp://x"]], [["--min-free", "much"]], [["--model-version", "v1"]]])(
    "refuses %j",
    async (args) => {
      expect((await vqd(...args)).code).toBe(2);
    },
  );
});

describe("the way to NATS", () => {
  it("1: a host that has no address", async () => {
    const result = await doctor([], natsEnv("monitor", "nats://no-such-host.invalid:4222"));
    expectOnly(result, "nats.dns", /no-such-host\.invalid has no address/);
  });

  it("2: a port where nothing listens", async () => {
    const [port] = await freePorts(1);
    expectOnly(
      await doctor([], natsEnv("monitor", `nats://127.0.0.1:${port}`)),
      "nats.connect",
      /cannot connect/,
    );
  });

  it("3: a wrong password", async () => {
    const result = await doctor([], { ...natsEnv("monitor"), VQD_NATS_PASSWORD: "wrong" });
    expectOnly(result, "nats.credentials", /rejects user monitor/);
  });

  it("4: a server without JetStream", async () => {
    const url = await startNats((config) => ({
      ...config,
      jetstream: undefined,
      accounts: { MONITOR: { users: (config["accounts"] as { MONITOR: { users: unknown } }).MONITOR.users } },
      system_account: undefined,
    }));
    const { code, found } = await doctor([], natsEnv("monitor", url));
    expect(found.map(({ check }) => check)).toEqual(["nats.jetstream", "workers.none"]);
    expect(code).toBe(1);
  });

  it("5: messages that must be smaller than an image", async () => {
    const url = await startNats((config) => ({ ...config, max_payload: 65_536 }));
    const { found } = await doctor([], natsEnv("monitor", url));
    expect(found).toContainEqual(
      expect.objectContaining({ check: "nats.max_payload", level: "problem" }) as Finding,
    );
  });

  it("6: a server that is too old", async () => {
    // No old server can be had here: the real one's greeting is changed on its way.
    const { port } = new URL(test.stack.natsUrl);
    const proxy = createServer((socket) => {
      const upstream = connectSocket(Number(port), "127.0.0.1");
      upstream.once("data", (greeting) =>
        socket.write(greeting.toString().replace(/"version":"[^"]*"/, '"version":"2.8.4"')),
      );
      upstream.once("data", () => upstream.pipe(socket));
      socket.pipe(upstream);
      for (const end of [socket, upstream]) end.on("error", () => {});
    });
    stops.push(() => new Promise((resolve) => proxy.close(resolve)));
    const result = await doctor([], natsEnv("monitor", `nats://127.0.0.1:${await listen(proxy)}`));
    expectOnly(result, "nats.version", /2\.8\.4, older than 2\.9/);
  });
});

describe("TLS and credentials of a cluster", () => {
  let files: ClusterFiles;
  let env: Env;
  beforeAll(async () => {
    const [client = 0, cluster = 0, leaf = 0, websocket = 0, monitor = 0] = await freePorts(5);
    const node = { name: "n1", host: "localhost", ports: { client, cluster, leaf, websocket, monitor } };
    const folder = mkdtempSync(join(dir, "cluster-"));
    files = await ClusterFiles.init(folder, { nodes: [node], acceptsLeaves: false }, () => ({
      configDir: join(folder, "nodes", "n1"),
      storeDir: join(folder, "store"),
      listen: "127.0.0.1",
    }));
    files.authority.revoke(files.issue("monitor", { name: "revoked" }).publicKey);
    files.writeConfigs();
    await startServer(files.configPath("nodes", "n1"));
    env = {
      VQD_NATS_URL: `tls://localhost:${client}`,
      VQD_NATS_CA: join(folder, "ca.pem"),
      VQD_NATS_CREDS: files.credentialsPath("monitor"),
    };
  });

  it("7: streams that nobody has made", async () => {
    const { found } = await doctor([], env);
    expect(found.map(({ check }) => check)).toEqual([
      ...Object.keys(STREAMS).map(() => "streams.missing"),
      "workers.none",
    ]);
  });

  it("8: a CA that is not trusted", async () => {
    const { VQD_NATS_CA: _, ...distrusting } = env;
    expectOnly(await doctor([], distrusting), "nats.tls", /not trusted/);
  });

  it("9: credentials that have expired", async () => {
    files.issue("monitor", { name: "expired", expires: Math.floor(Date.now() / 1_000) - 60 });
    const result = await doctor([], { ...env, VQD_NATS_CREDS: files.credentialsPath("expired") });
    expectOnly(result, "nats.credentials", /expired at 20/);
  });

  it("10: credentials that were revoked", async () => {
    const result = await doctor([], { ...env, VQD_NATS_CREDS: files.credentialsPath("revoked") });
    expectOnly(result, "nats.credentials", /rejects .*revoked\.creds/);
  });

  it("11: a file that holds no credentials", async () => {
    const result = await doctor([], { ...env, VQD_NATS_CREDS: join(REPO, "package.json") });
    expectOnly(result, "nats.credentials", /is not a credentials file/);
  });

  it("12: a server whose certificate has expired", async () => {
    const folder = mkdtempSync(join(dir, "expired-"));
    const ca = await createCa("test");
    const { certificate, key } = await createCertificate(ca, ["localhost"], -0.001);
    for (const [name, text] of Object.entries({
      "c.pem": certificate,
      "k.pem": key,
      "ca.pem": ca.certificate,
    })) {
      writeFileSync(join(folder, name), text);
    }
    const url = await startNats((config) => ({
      ...config,
      tls: { cert_file: join(folder, "c.pem"), key_file: join(folder, "k.pem") },
    }));
    const result = await doctor([], {
      ...natsEnv("monitor", url.replace("127.0.0.1", "localhost")),
      VQD_NATS_CA: join(folder, "ca.pem"),
    });
    expectOnly(result, "nats.tls", /has expired/);
  });

  it("13: a server without TLS where it is asked for", async () => {
    const url = test.stack.natsUrl.replace("nats:", "tls:");
    expectOnly(await doctor([], natsEnv("monitor", url)), "nats.tls", /TLS|tls/);
  });
});

const asOperator = () =>
  connect({
    servers: test.stack.natsUrl,
    user: "operator",
    pass: test.stack.passwords.operator,
    inboxPrefix: "_INBOX_operator",
  });

describe("streams and workers", () => {
  it("14: a stream with other settings", async () => {
    const nc = await asOperator();
    const jsm = await jetstreamManager(nc);
    const { config } = await jsm.streams.info("VQD_STATE");
    await jsm.streams.update("VQD_STATE", { ...config, max_bytes: 1_000_000 });
    expectOnly(await doctor([], natsEnv("monitor")), "streams.settings", /VQD_STATE: max_bytes is 1000000/);
    await jsm.streams.update("VQD_STATE", config);
    await nc.close();
  });

  it("15: a queue that is full", async () => {
    const nc = await asOperator();
    const edge = await connect({
      servers: test.stack.natsUrl,
      user: "edge",
      pass: test.stack.passwords.edge,
      inboxPrefix: "_INBOX_edge",
    });
    for (const model of ["a", "b"]) await jetstream(edge).publish(`vqd.jobs.${model}.normal`, "{}");
    expectOnly(await doctor([], natsEnv("monitor")), "streams.queue", /2 of 2 jobs/, "warning");
    await (await jetstreamManager(nc)).streams.purge("VQD_JOBS");
    await Promise.all([nc.close(), edge.close()]);
  });

  it("16: no worker", async () => {
    const idle = await startNats((config) => config);
    const env = natsEnv("monitor", idle);
    const { found } = await doctor([], env);
    expect(found).toContainEqual(expect.objectContaining({ check: "workers.none" }) as Finding);
  });
});

describe("a worker's machine", () => {
  it("17: a setting that is wrong", async () => {
    expectOnly(await doctor(["worker"], workerEnv({ VQD_SLOTS: "0" })), "worker.settings", /VQD_SLOTS/);
  });

  it("18: no such model", async () => {
    const result = await doctor(["worker"], workerEnv({ VQD_MODEL: join(dir, "nothing") }));
    expectOnly(result, "worker.model", /no such folder/);
  });

  it("19: a model of which a file is damaged", async () => {
    const model = join(dir, "damaged");
    cpSync(TINY_MODEL, model, { recursive: true });
    const weights = join(model, "vqvae", "diffusion_pytorch_model.safetensors");
    writeFileSync(weights, readFileSync(weights).subarray(0, 1_000));
    const result = await doctor(["worker"], workerEnv({ VQD_MODEL: model }));
    expectOnly(result, "worker.model", /vqvae/);
  });

  it("20: a model with another hash than it should have, and than the edge knows", async () => {
    const result = await doctor(["worker", "--model-version", "abcdef012345"], workerEnv());
    expectOnly(result, "worker.version", /not abcdef012345/);
    const model = join(dir, "changed", "checkpoint");
    mkdirSync(join(dir, "changed"));
    cpSync(TINY_MODEL, model, { recursive: true });
    const config = join(model, "scheduler", "scheduler_config.json");
    writeFileSync(config, `${readFileSync(config, "utf8")}\n`);
    const other = await doctor(["worker", "--url", test.url], workerEnv({ VQD_MODEL: model }));
    expect(other.found).toContainEqual(
      expect.objectContaining({
        check: "worker.version",
        message: expect.stringMatching(/vqd\/checkpoint here is version .*, at the edge/) as string,
      }),
    );
    // Another version is another model to NATS.
    expect(new Set(other.found.map(({ check }) => check))).toEqual(
      new Set(["worker.permissions", "worker.version"]),
    );
  });

  it("21: a GPU provider without its library", async () => {
    const result = await doctor(["worker"], workerEnv({ VQD_PROVIDER: "cuda" }));
    expectOnly(result, "worker.provider", /cuda provider cannot run .* CUDA library/);
  });

  it("22: a disk without room, and one that cannot be written", async () => {
    const full = await doctor(["worker", "--min-free", "1000000"], workerEnv());
    expectOnly(full, "worker.disk", /GiB free in .*, less than 1000000/);
    const file = join(dir, "file");
    writeFileSync(file, "");
    expectOnly(
      await doctor(["worker"], workerEnv({ VQD_CACHE: join(file, "cache") })),
      "worker.disk",
      /not writable/,
    );
  });

  it("does not make the folder that it looks at", async () => {
    const cache = join(dir, "not", "yet");
    await doctor(["worker"], workerEnv({ VQD_CACHE: cache }));
    expect(existsSync(dirname(cache))).toBe(false);
  });

  it("23: a permission that is missing", async () => {
    const url = await startNats((config) => {
      const accounts = structuredClone(config["accounts"]) as {
        WORKERS: { users: { permissions: { publish: { allow: string[] } } }[] };
      };
      for (const { permissions } of accounts.WORKERS.users) {
        const { publish } = permissions;
        publish.allow = publish.allow.filter((subject) => !subject.startsWith("vqd.state"));
      }
      return { ...config, accounts };
    });
    const result = await doctor(["worker"], workerEnv({ VQD_NATS_URL: url }));
    expectOnly(result, "worker.permissions", /Publish.*vqd\.state/i);
  });

  it("24: credentials that do not allow the model", async () => {
    const result = await doctor(["worker"], workerEnv({ VQD_MODEL_NAME: "vqd/another" }));
    expectOnly(result, "worker.permissions", /vqd--another/);
  });

  it("25: a model without queues", async () => {
    const nc = await asOperator();
    const jsm = await jetstreamManager(nc);
    const name = `workers-${TINY_KEY}--low`;
    await jsm.consumers.delete("VQD_JOBS", name);
    const result = await doctor(["worker"], workerEnv());
    await applyStreams(
      { url: test.stack.natsUrl, password: test.stack.passwords.operator },
      { models: [TINY_KEY], queueLimit: 2 },
    );
    expectOnly(result, "worker.queue", /--low does not exist/);
    await nc.close();
  });
});

describe("the edge", () => {
  const asked = (url: string, env: Env = {}) =>
    doctor(["--url", url], { ...natsEnv("monitor"), VQD_API_KEY: test.apiKey, ...env });

  it("26: a URL whose host has no address", async () => {
    expectOnly(await asked("https://no-such-edge.invalid"), "edge.dns", /no-such-edge\.invalid/);
  });

  it("27: a URL where nothing listens", async () => {
    const [port] = await freePorts(1);
    expectOnly(await asked(`http://127.0.0.1:${port}`), "edge.connect", /ECONNREFUSED/);
  });

  it("28: a URL of something else", async () => {
    const other = createHttpServer((_request, response) => response.end("<h1>Welcome</h1>"));
    stops.push(() => new Promise((resolve) => other.close(resolve)));
    expectOnly(await asked(`http://127.0.0.1:${await listen(other)}`), "edge.url", /not a vqd edge/);
  });

  it("29: an API key that it does not know", async () => {
    expectOnly(await asked(test.url, { VQD_API_KEY: "unknown" }), "edge.key", /401/);
  });

  /** The edge, as if its clock were `aheadMs` ahead, and its answers changed by `edit`. Resolves to its URL. */
  async function altered(aheadMs: number, edit: (body: string) => string): Promise<string> {
    const proxy = createHttpServer((request, response) => {
      void (async () => {
        const answer = await fetch(new URL(request.url ?? "/", test.url), {
          headers: { authorization: request.headers.authorization ?? "" },
        });
        const date = new Date(Date.now() + aheadMs).toUTCString();
        response
          .writeHead(answer.status, { "content-type": "application/json", date })
          .end(edit(await answer.text()));
      })();
    });
    stops.push(() => new Promise((resolve) => proxy.close(resolve)));
    return `http://127.0.0.1:${await listen(proxy)}`;
  }

  it("30: a clock that is off", async () => {
    expectOnly(await asked(await altered(90_000, (body) => body)), "edge.clock", /90 s behind/);
  });

  it("31: a model that workers serve and the edge has refused", async () => {
    const [model] = (await (await fetch(`${test.url}/healthz`)).json()).models as { version: string }[];
    const url = await altered(0, (body) => body.replaceAll(model?.version ?? "", "0".repeat(64)));
    expectOnly(await asked(url), "edge.models", /does not know vqd\/\S+ in version /);
  });

  it("32: an edge that cannot reach NATS", async () => {
    await test.stack.nats.stop();
    // The edge reuses its last check of NATS for a moment.
    await expect
      .poll(() => asked(test.url), { timeout: 20_000 })
      .toMatchObject({
        code: 1,
        found: expect.arrayContaining([
          expect.objectContaining({
            check: "edge.nats",
            message: expect.stringMatching(/NATS is unreachable/) as string,
          }),
        ]) as Finding[],
      });
  });
});
