// A cluster's folder: the operator's keys, and the files to be copied to each server and user.

import { X509Certificate } from "node:crypto";
import { existsSync, mkdirSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { z } from "zod";
import { writePrivateFile } from "../../stack/files.ts";
import { MODEL_KEY_PATTERN } from "@vqd/shared/model.ts";
import { Authority, type RoleName, type UserOptions } from "./authority.ts";
import { DEFAULT_PLACE, leafConfig, type Node, nodeConfig, type Nodes, type Place } from "./config.ts";

const CLUSTER_FILE = "cluster.json";
const CONFIG_FILE = "nats-server.conf";
/** Issued by `init`. A leaf gets its own when it is created. */
const FIRST_USERS = ["edge", "monitor", "operator"] as const satisfies RoleName[];

const portsSchema = z.strictObject({
  client: z.int(),
  cluster: z.int(),
  leaf: z.int(),
  websocket: z.int(),
  monitor: z.int(),
});
const leafSchema = z.strictObject({
  name: z.string(),
  /** Host names at which the workers of its site reach it. */
  hosts: z.array(z.string()).min(1),
  ports: portsSchema.pick({ client: true, monitor: true }),
  /** Keys of the models that its workers may serve. Those of 0.1.0 had none, and any model. */
  models: z.array(z.string().regex(MODEL_KEY_PATTERN)).default([]),
});
const placeSchema = z.strictObject({ configDir: z.string(), storeDir: z.string(), listen: z.string() });
const clusterSchema = z.strictObject({
  nodes: z.array(z.strictObject({ name: z.string(), host: z.string(), ports: portsSchema })).min(1),
  acceptsLeaves: z.boolean(),
  leaves: z.array(leafSchema),
  /** By server. Earlier releases did not store them. */
  places: z.record(z.string(), placeSchema).default({}),
});
type Leaf = z.infer<typeof leafSchema>;
type Cluster = z.infer<typeof clusterSchema>;

/** By a server's name, the settings of its place that change; the others stay as they were. */
export type Places = (server: string) => Partial<Place>;

export class ClusterFiles {
  readonly dir: string;
  readonly authority: Authority;
  readonly nodes: readonly Node[];
  readonly acceptsLeaves: boolean;
  readonly #leaves: Leaf[];
  readonly #places: Readonly<Record<string, Place>>;
  readonly #newPlaces: Places;

  private constructor(
    dir: string,
    authority: Authority,
    { nodes, acceptsLeaves, leaves, places }: Omit<Cluster, "nodes"> & Nodes,
    newPlaces: Places,
  ) {
    this.dir = dir;
    this.authority = authority;
    this.nodes = nodes;
    this.acceptsLeaves = acceptsLeaves;
    this.#leaves = leaves;
    this.#places = places;
    this.#newPlaces = newPlaces;
  }

  /**
   * Creates the cluster's folder or brings it up to date: existing keys, credentials and certificates are kept, except
   * certificates for other hosts, and a cluster that accepts leaf nodes continues to.
   */
  static async init(dir: string, { nodes, acceptsLeaves }: Nodes, places: Places): Promise<ClusterFiles> {
    const authority = await Authority.open(join(dir, "operator"));
    const before = existsSync(join(dir, CLUSTER_FILE)) ? readCluster(dir) : undefined;
    const cluster = {
      nodes,
      acceptsLeaves: acceptsLeaves || (before?.acceptsLeaves ?? false),
      leaves: before?.leaves ?? [],
      places: before?.places ?? {},
    };
    const files = new ClusterFiles(dir, authority, cluster, places);
    writePrivateFile(join(dir, "ca.pem"), authority.caCertificate);
    for (const node of nodes) await files.#writeTls(join("nodes", node.name), [node.host]);
    for (const role of FIRST_USERS) {
      const path = files.credentialsPath(role);
      // Those of monitors were users of another account in 0.1.0.
      if (!existsSync(path) || accountOf(readFileSync(path, "utf8")) !== authority.accountOf(role)) {
        files.issue(role);
      }
    }
    files.writeConfigs();
    return files;
  }

  /** Opens the cluster that `init` has created. */
  static async open(dir: string, places: Places): Promise<ClusterFiles> {
    const cluster = readCluster(dir);
    return new ClusterFiles(dir, await Authority.open(join(dir, "operator")), cluster, places);
  }

  /** The configuration of a node or leaf in this folder. */
  configPath(kind: "nodes" | "leaves", name: string): string {
    return join(this.dir, kind, name, CONFIG_FILE);
  }

  credentialsPath(name: string): string {
    return join(this.dir, "creds", `${name}.creds`);
  }

  /**
   * Writes new credentials to `creds/<name>.creds`; returns the user's public key. Where `isNewAccount`, the servers'
   * configurations have been rewritten and must be reloaded before the credentials are accepted.
   */
  issue(role: RoleName, options: UserOptions = {}): { publicKey: string; isNewAccount: boolean } {
    const { credentials, publicKey, isNewAccount } = this.authority.issue(role, options);
    mkdirSync(join(this.dir, "creds"), { recursive: true, mode: 0o700 });
    writePrivateFile(this.credentialsPath(options.name ?? role), credentials);
    if (isNewAccount) this.writeConfigs();
    return { publicKey, isNewAccount };
  }

  /** Writes the servers' configurations, which include the trusted accounts. Running servers must be reloaded. */
  writeConfigs(): void {
    this.#writeCluster();
    const trust = this.authority.trust();
    for (const node of this.nodes) {
      const config = nodeConfig(node, this, trust, this.#place(node.name));
      writePrivateFile(this.configPath("nodes", node.name), config);
    }
    const leafTrust = this.authority.trust({ leaf: true });
    for (const leaf of this.#leaves) {
      // One of 0.1.0 is a user of the account of the streams.
      const account = this.authority.accountOf("leaf", leaf.models) ?? trust.account;
      const config = leafConfig({ ...leaf, account }, this.nodes, leafTrust, this.#place(leaf.name));
      writePrivateFile(this.configPath("leaves", leaf.name), config);
    }
  }

  /**
   * Writes everything a leaf node needs to `leaves/<name>`; `hosts` are the names at which its workers reach it, `models` the
   * keys of what they may serve.
   */
  async addLeaf({ name, hosts, ports, models }: Leaf): Promise<void> {
    if (!this.acceptsLeaves) {
      throw new Error(
        "the cluster does not accept leaf nodes: run init with --leaf-nodes and restart its servers",
      );
    }
    const known = this.#leaves.findIndex((leaf) => leaf.name === name);
    this.#leaves.splice(known === -1 ? this.#leaves.length : known, 1, { name, hosts, ports, models });
    await this.#writeTls(join("leaves", name), hosts);
    const path = join(this.dir, "leaves", name, "leaf.creds");
    if (
      !existsSync(path) ||
      accountOf(readFileSync(path, "utf8")) !== this.authority.accountOf("leaf", models)
    ) {
      const { credentials } = this.authority.issue("leaf", { name: `leaf-${name}`, models });
      writePrivateFile(path, credentials);
    }
    this.writeConfigs();
  }

  /** Writes new certificates for all servers, which take effect on reload. */
  async renewCertificates(): Promise<void> {
    for (const node of this.nodes) await this.#writeTls(join("nodes", node.name), [node.host], true);
    for (const leaf of this.#leaves) await this.#writeTls(join("leaves", leaf.name), leaf.hosts, true);
  }

  /** A new server inherits the place of the nodes, or of servers known earlier. */
  #place(server: string): Place {
    const likely = [server, ...this.nodes.map(({ name }) => name), ...Object.keys(this.#places)];
    const known = likely.find((name) => Object.hasOwn(this.#places, name));
    const kept = known === undefined ? undefined : this.#places[known];
    return { ...DEFAULT_PLACE, ...kept, ...this.#newPlaces(server) };
  }

  #writeCluster(): void {
    const servers = [...this.nodes, ...this.#leaves];
    const cluster = {
      nodes: this.nodes,
      acceptsLeaves: this.acceptsLeaves,
      leaves: this.#leaves,
      places: Object.fromEntries(servers.map(({ name }) => [name, this.#place(name)])),
    };
    writePrivateFile(join(this.dir, CLUSTER_FILE), `${JSON.stringify(cluster, undefined, 2)}\n`);
  }

  async #writeTls(server: string, hosts: readonly string[], renew = false): Promise<void> {
    const dir = join(this.dir, server, "tls");
    mkdirSync(dir, { recursive: true, mode: 0o700 });
    writePrivateFile(join(dir, "ca.pem"), this.authority.caCertificate);
    const path = join(dir, "node.pem");
    if (!renew && existsSync(path) && isFor(readFileSync(path), hosts)) return;
    const { certificate, key } = await this.authority.certificate(hosts);
    writePrivateFile(join(dir, "node-key.pem"), key);
    writePrivateFile(path, certificate);
  }
}

/** Claims of the JWT in a credentials file; undefined where the text is none. */
export function claimsOf(
  credentials: string,
): { sub?: unknown; nats?: { issuer_account?: unknown } } | undefined {
  const [, jwt] = /NATS USER JWT-+\s+(\S+)/.exec(credentials) ?? [];
  try {
    return (
      (JSON.parse(Buffer.from(jwt?.split(".")[1] ?? "", "base64url").toString()) as object | null) ??
      undefined
    );
  } catch {
    return undefined;
  }
}

/** The public key of the account that credentials are a user of. */
const accountOf = (credentials: string): unknown => claimsOf(credentials)?.nats?.issuer_account;

/** Whether the certificate (PEM) is valid for all of these hosts. */
function isFor(certificate: Buffer, hosts: readonly string[]): boolean {
  const parsed = new X509Certificate(certificate);
  return hosts.every((host) => parsed.checkHost(host) !== undefined);
}

function readCluster(dir: string): Cluster {
  const path = join(dir, CLUSTER_FILE);
  if (!existsSync(path)) throw new Error(`${path} does not exist: create the cluster with init first`);
  return clusterSchema.parse(JSON.parse(readFileSync(path, "utf8")));
}
