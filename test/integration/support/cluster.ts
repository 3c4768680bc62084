// A NATS cluster of three servers for one test file, with the certificates and credentials of infra/nats/cluster, and
// edge and workers of the stack against it.

import { mkdtemp, rm } from "node:fs/promises";
import { readFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { jetstreamManager, type StreamInfo } from "@nats-io/jetstream";
import { STREAMS } from "@vqd/shared/subjects.ts";
import { type ConnectionOptions, connect, credsAuthenticator, type NatsConnection } from "nats";
import { buildProgram } from "../../../infra/edge/program.ts";
import { ClusterFiles } from "../../../infra/nats/cluster/files.ts";
import { type RoleName } from "../../../infra/nats/cluster/authority.ts";
import type { Node, Place } from "../../../infra/nats/cluster/config.ts";
import { type NatsServer, ensureNatsServer } from "../../../infra/nats/server.ts";
import { applyStreams } from "../../../infra/nats/streams.ts";
import { Child, type ChildSpec } from "../../../infra/stack/children/child.ts";
import { edgeChild } from "../../../infra/stack/children/edge.ts";
import { type LogLine, parseNatsLine } from "../../../infra/stack/log.ts";
import { REPO } from "../../../infra/stack/paths.ts";
import { freePorts } from "../../../infra/stack/ports.ts";
import { workerChild } from "../../../infra/stack/children/worker.ts";
import type { ApiClient } from "./client.ts";
import { TINY_KEY } from "./nats.ts";
import { TINY_MODEL } from "./stack.ts";

const SERVERS = ["n1", "n2", "n3"];
const ADDRESS = "127.0.0.1";
/** Certificates name hosts, not addresses: the client in Node looks for a name. */
const HOST = "localhost";
const API_KEY = "cluster-test-key";
const START_LIMIT_MS = 60_000;
const LEASE_MS = 5_000;
const STOP_LIMIT_MS = 5_000;

export class TestCluster implements ApiClient {
  readonly apiKey = API_KEY;
  readonly dir: string;
  readonly files: ClusterFiles;
  readonly nodes: Child[] = [];
  readonly lines: LogLine[] = [];
  readonly workers: Child[] = [];
  edge: Child | undefined;
  #edgePort = 0;
  #edgeProgram: Promise<void> | undefined;
  readonly #server: NatsServer;
  readonly #children: Child[] = [];

  private constructor(dir: string, files: ClusterFiles, server: NatsServer) {
    this.dir = dir;
    this.files = files;
    this.#server = server;
  }

  /**
   * Three servers, with their streams of three replicas, or one. `models` are what the credentials of each name may serve,
   * by the models' keys.
   */
  static async start({
    servers = SERVERS.length,
    models = { worker: [TINY_KEY] },
    prepare = () => {},
  }: {
    servers?: number;
    models?: Readonly<Record<string, readonly string[]>>;
    /** Puts into the folder what is to be there before. */
    prepare?: (dir: string) => void | Promise<void>;
  } = {}): Promise<TestCluster> {
    const dir = await mkdtemp(join(tmpdir(), "vqd-cluster-"));
    await prepare(dir);
    const names = SERVERS.slice(0, servers);
    const ports = await freePorts(names.length * 5);
    const nodes = names.map((name): Node => {
      const [client = 0, cluster = 0, leaf = 0, websocket = 0, monitor = 0] = ports.splice(0, 5);
      return { name, host: HOST, ports: { client, cluster, leaf, websocket, monitor } };
    });
    const place = (name: string): Place => ({
      configDir: join(dir, SERVERS.includes(name) ? "nodes" : "leaves", name),
      storeDir: join(dir, "store", name),
      listen: ADDRESS,
    });
    const files = await ClusterFiles.init(dir, { nodes, acceptsLeaves: true }, place);
    for (const [name, served] of Object.entries(models)) files.issue("worker", { name, models: served });
    const server = await ensureNatsServer({ binDir: join(REPO, ".vqd", "bin"), log: () => {} });
    const cluster = new TestCluster(dir, files, server);
    try {
      await Promise.all(nodes.map((_, index) => cluster.startNode(index)));
      if (servers > 1) await cluster.waitForLeader();
      await applyStreams(cluster.clientOptions("operator"), {
        replicas: servers,
        models: Object.values(models).flat(),
        leaseMs: LEASE_MS,
      });
      return cluster;
    } catch (error) {
      await cluster.stop();
      throw error;
    }
  }

  get url(): string {
    return `http://${ADDRESS}:${this.#edgePort}`;
  }

  get urls(): string[] {
    return this.files.nodes.map(({ ports }) => `tls://${HOST}:${ports.client}`);
  }

  get caFile(): string {
    return join(this.dir, "ca.pem");
  }

  /** How a client in Node connects with the credentials `creds/<name>.creds`. */
  clientOptions(name: string, servers: readonly string[] = this.urls): ConnectionOptions {
    return {
      servers: [...servers],
      authenticator: credsAuthenticator(readFileSync(this.files.credentialsPath(name))),
      tls: { caFile: this.caFile },
    };
  }

  connectAs(
    role: RoleName,
    { credentials = role, ...options }: ConnectionOptions & { credentials?: string } = {},
  ): Promise<NatsConnection> {
    return connect({
      ...this.clientOptions(credentials),
      inboxPrefix: `_INBOX_${role}`,
      reconnect: false,
      ...options,
    });
  }

  /** Starts a server again that was killed; one that runs goes on. */
  async startNode(index: number): Promise<void> {
    if (this.nodes[index]?.state === "ready") return;
    const name = SERVERS[index] ?? "";
    const spec = serverChild(name, this.#server, this.files.configPath("nodes", name));
    const child = new Child(spec, { log: (line) => this.lines.push(line), onProcess: () => {} });
    this.nodes[index] = child;
    await child.start();
  }

  /** Kills a server, which stays away. */
  async killNode(index: number): Promise<void> {
    const node = this.nodes[index];
    node?.killNow();
    await node?.stop();
  }

  /** What the operator is told of each stream. */
  async streams(): Promise<StreamInfo[]> {
    const nc = await this.connectAs("operator");
    try {
      const jsm = await jetstreamManager(nc, { checkAPI: false });
      return await Promise.all(Object.values(STREAMS).map((name) => jsm.streams.info(name)));
    } finally {
      await nc.close();
    }
  }

  /** Place among the servers of the one that leads a stream. */
  async leaderOf(stream: string): Promise<number> {
    const info = (await this.streams()).find(({ config }) => config.name === stream);
    return SERVERS.indexOf(info?.cluster?.leader ?? "");
  }

  /** Whether every stream has a leader and two replicas that have all it has. */
  async isWhole(): Promise<boolean> {
    const infos = await this.streams().catch(() => []);
    return (
      infos.length > 0 &&
      infos.every(({ cluster }) => {
        const current = cluster?.replicas?.filter((peer) => peer.current && !peer.offline) ?? [];
        return cluster?.leader !== undefined && cluster.leader !== "" && current.length === 2;
      })
    );
  }

  /** Resolves when the servers have a leader that answers; until then they refuse to make streams. */
  async waitForLeader(): Promise<void> {
    const until = Date.now() + START_LIMIT_MS;
    for (;;) {
      const nodes = this.files.nodes.map(({ ports }) => ports.monitor);
      const answers = await Promise.all(nodes.map((port) => jetStreamOf(port)));
      const leaders = answers.map((answer) => answer?.meta_cluster?.leader ?? "");
      if (leaders.every((leader) => leader !== "" && leader === leaders[0])) return;
      if (Date.now() > until) throw new Error(`the cluster has no leader: ${JSON.stringify(leaders)}`);
      await new Promise((resolve) => setTimeout(resolve, 50));
    }
  }

  /** Starts the edge in workerd, which trusts the CA by NODE_EXTRA_CA_CERTS. `env` wins over what it is given. */
  async startEdge(env: Readonly<Record<string, string>> = {}): Promise<void> {
    [this.#edgePort = 0] = await freePorts(1);
    const trusting = { ...process.env, NODE_EXTRA_CA_CERTS: this.caFile };
    this.edge = this.#child(await this.#edgeSpec(this.#edgePort, env, trusting));
    await this.edge.start();
  }

  /** An edge that trusts public CAs only; it is not waited for to serve. */
  async startDistrustingEdge(): Promise<{ url: string; edge: Child }> {
    const [port = 0] = await freePorts(1);
    const { NODE_EXTRA_CA_CERTS: _, ...env } = process.env;
    const spec = await this.#edgeSpec(port, {}, env);
    const edge = this.#child({ ...spec, ready: async ({ line }) => void (await line(/"listening"/)) });
    await edge.start();
    return { url: `http://${ADDRESS}:${port}`, edge };
  }

  async #edgeSpec(
    port: number,
    env: Readonly<Record<string, string>>,
    base: NodeJS.ProcessEnv,
  ): Promise<ChildSpec> {
    const programDir = join(this.dir, "program");
    await (this.#edgeProgram ??= buildProgram(programDir));
    return edgeChild(
      {
        programDir,
        port,
        websocketPort: 0,
        password: "",
        apiKey: API_KEY,
        defaultModel: "vqd/checkpoint",
        dataDir: join(this.dir, `edge-${port}`),
        expectsModel: true,
        env: {
          NATS_URL: this.files.nodes.map(({ ports }) => `wss://${HOST}:${ports.websocket}`).join(","),
          NATS_USER: "",
          NATS_CREDS: readFileSync(this.files.credentialsPath("edge"), "utf8"),
          ...env,
        },
      },
      base,
    );
  }

  /** Starts a worker with the tiny model; `env` wins over what it is given. */
  async startWorker(env: Readonly<Record<string, string>> = {}): Promise<Child> {
    const spec = workerChild(
      this.workers.length + 1,
      {
        natsUrl: this.urls.join(","),
        password: "",
        model: TINY_MODEL,
        provider: "cpu",
        threads: 1,
        cacheDir: join(REPO, ".vqd", "cache"),
        env: {
          VQD_NATS_USER: "",
          VQD_NATS_CREDS: this.files.credentialsPath("worker"),
          VQD_NATS_CA: this.caFile,
          ...env,
        },
      },
      process.env,
    );
    const worker = this.#child(spec);
    this.workers.push(worker);
    await worker.start();
    return worker;
  }

  /** Starts a leaf node at a site of its own; gives the URL for its workers. */
  async startLeaf(name: string): Promise<string> {
    const [client = 0, monitor = 0] = await freePorts(2);
    await this.files.addLeaf({ name, hosts: [HOST], ports: { client, monitor }, models: [TINY_KEY] });
    const leaf = this.#child(serverChild(name, this.#server, this.files.configPath("leaves", name), true));
    await leaf.start();
    return `tls://${HOST}:${client}`;
  }

  /** Has all servers read their configuration again. */
  reload(): void {
    for (const node of this.nodes) if (node.pid !== undefined) process.kill(node.pid, "SIGHUP");
  }

  async stop(): Promise<void> {
    await Promise.all(this.#children.toReversed().map((child) => child.stop()));
    await Promise.all(this.nodes.map((node) => node.stop()));
    await rm(this.dir, { recursive: true, force: true });
  }

  #child(spec: ChildSpec): Child {
    const child = new Child(spec, { log: (line) => this.lines.push(line), onProcess: () => {} });
    this.#children.push(child);
    return child;
  }
}

interface JetStreamStatus {
  readonly meta_cluster?: { readonly leader?: string };
}

async function jetStreamOf(monitor: number): Promise<JetStreamStatus | undefined> {
  const response = await fetch(`http://${ADDRESS}:${monitor}/jsz`).catch(() => undefined);
  return (await response?.json().catch(() => undefined)) as JetStreamStatus | undefined;
}

function serverChild(name: string, server: NatsServer, config: string, isLeaf = false): ChildSpec {
  return {
    name,
    command: server.path,
    args: ["--config", config],
    cwd: REPO,
    env: { ...process.env },
    parser: () => parseNatsLine,
    async ready({ line }) {
      await line(isLeaf ? /Leafnode connection created/ : /\[INF\] Server is ready/);
    },
    readyLimitMs: START_LIMIT_MS,
    stopLimitMs: STOP_LIMIT_MS,
  };
}
