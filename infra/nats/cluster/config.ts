// nats-server configurations: a node of the cluster, and a leaf node for workers at another site.

import { join } from "node:path";
import { MAX_PAYLOAD_BYTES } from "@vqd/shared/limits.ts";
import type { Trust } from "./authority.ts";

export interface Ports {
  /** Clients in Node. */
  readonly client: number;
  /** The other nodes. */
  readonly cluster: number;
  /** Leaf nodes. */
  readonly leaf: number;
  /** Clients in workerd. */
  readonly websocket: number;
  /** Monitoring, without TLS and on loopback only. */
  readonly monitor: number;
}

export const PORTS: Ports = { client: 4222, cluster: 6222, leaf: 7422, websocket: 8443, monitor: 8222 };

export interface Node {
  readonly name: string;
  /** Name or address at which clients and the other nodes reach it. */
  readonly host: string;
  readonly ports: Ports;
}

/** Where a server finds its files. */
export interface Place {
  /** Holds `tls/node.pem`, `tls/node-key.pem` and `tls/ca.pem`. */
  readonly configDir: string;
  readonly storeDir: string;
  /** Address to listen on. */
  readonly listen: string;
}

export const DEFAULT_PLACE: Place = {
  configDir: "/etc/nats",
  storeDir: "/var/lib/nats",
  listen: "0.0.0.0",
};

export interface Nodes {
  readonly nodes: readonly Node[];
  /** Whether they accept leaf nodes. */
  readonly acceptsLeaves: boolean;
}

/** A broken connection is detected after PING_INTERVAL x PINGS_OUT. */
const PING_INTERVAL = "20s";
const PINGS_OUT = 3;

/** JSON is valid nats-server configuration, and needs no quoting rules of its own. */
const text = (config: object): string => `${JSON.stringify(config, undefined, 2)}\n`;

function tlsFiles(configDir: string): { cert_file: string; key_file: string; ca_file: string } {
  const file = (name: string): string => join(configDir, "tls", name);
  return { cert_file: file("node.pem"), key_file: file("node-key.pem"), ca_file: file("ca.pem") };
}

/** The accounts that the server trusts, contained in its configuration: a change takes a reload. */
const trusted = (trust: Trust) => ({
  // Both ends of a leaf node connection need it to let JetStream requests pass. The server warns that it is a temporary
  // measure; the alternative would be a domain in every subject and every permission.
  default_js_domain: { [trust.account]: "" },
  operator: trust.operatorJwt,
  system_account: trust.systemAccount,
  resolver: "MEMORY",
  resolver_preload: trust.accounts,
});

/** One node of a cluster with JetStream; with three nodes, a stream with three replicas survives the loss of one. */
export function nodeConfig(
  { name, host, ports }: Node,
  { nodes, acceptsLeaves }: Nodes,
  trust: Trust,
  place: Place,
): string {
  const { listen, configDir, storeDir } = place;
  const { cert_file, key_file, ca_file } = tlsFiles(configDir);
  const tls = { cert_file, key_file };
  const others = nodes.filter((other) => other.name !== name);
  const routes = {
    name: "vqd",
    listen: `${listen}:${ports.cluster}`,
    cluster_advertise: `${host}:${ports.cluster}`,
    // Both ends of a route present a certificate of the CA, so nobody else can join the cluster.
    tls: { cert_file, key_file, ca_file, verify: true },
    routes: others.map((other) => `nats-route://${other.host}:${other.ports.cluster}`),
  };
  return text({
    server_name: name,
    listen: `${listen}:${ports.client}`,
    client_advertise: `${host}:${ports.client}`,
    http: `127.0.0.1:${ports.monitor}`,
    max_payload: MAX_PAYLOAD_BYTES,
    ping_interval: PING_INTERVAL,
    ping_max: PINGS_OUT,
    jetstream: { store_dir: storeDir },
    tls,
    websocket: { listen: `${listen}:${ports.websocket}`, tls, compression: false },
    // With this section, a single server would wait for others.
    ...(others.length === 0 ? {} : { cluster: routes }),
    ...(acceptsLeaves
      ? { leafnodes: { listen: `${listen}:${ports.leaf}`, advertise: `${host}:${ports.leaf}`, tls } }
      : {}),
    ...trusted(trust),
  });
}

/**
 * A server at another site: workers there connect to it, and only it connects out to the cluster, with the credentials
 * `leaf.creds` beside the configuration. It stores nothing: the streams are in the cluster.
 */
export function leafConfig(
  { name, ports, account }: { name: string; ports: Pick<Ports, "client" | "monitor">; account: string },
  nodes: readonly Node[],
  trust: Trust,
  { listen, configDir }: Place,
): string {
  const { cert_file, key_file, ca_file } = tlsFiles(configDir);
  return text({
    server_name: name,
    listen: `${listen}:${ports.client}`,
    http: `127.0.0.1:${ports.monitor}`,
    max_payload: MAX_PAYLOAD_BYTES,
    tls: { cert_file, key_file },
    leafnodes: {
      reconnect: 2,
      remotes: [
        {
          urls: nodes.map((node) => `tls://${node.host}:${node.ports.leaf}`),
          account,
          credentials: join(configDir, "leaf.creds"),
          tls: { ca_file },
        },
      ],
    },
    ...trusted(trust),
  });
}
