// A cluster's security: TLS by a private CA, and credentials that expire, are revoked, and allow nothing but what is needed.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { join } from "node:path";
import { STREAMS } from "@vqd/shared/subjects.ts";
import { connect, type ConnectionOptions, PermissionViolationError } from "nats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import type { RoleName } from "../../infra/nats/cluster/authority.ts";
import { NODE, REPO } from "../../infra/stack/paths.ts";
import { createPrediction, request } from "./support/client.ts";
import { TestCluster } from "./support/cluster.ts";

let cluster: TestCluster;
beforeAll(async () => {
  cluster = await TestCluster.start();
});
afterAll(() => cluster.stop());

const seconds = (): number => Math.floor(Date.now() / 1_000);

describe("credentials", () => {
  it("of every role are let in, and others are not", async () => {
    for (const role of ["edge", "worker", "monitor", "operator"] as const) {
      await (await cluster.connectAs(role)).close();
    }
    const tls = { caFile: cluster.caFile };
    const refused: ConnectionOptions[] = [{}, { user: "worker", pass: "worker" }];
    for (const how of refused) {
      await expect(connect({ servers: cluster.urls, tls, ...how, reconnect: false })).rejects.toThrow(
        /authorization/i,
      );
    }
  });

  it("end with their time, also of those that are connected", async () => {
    cluster.files.issue("worker", "expired", seconds() - 1);
    await expect(connect({ ...cluster.clientOptions("expired"), reconnect: false })).rejects.toThrow(
      /authorization/i,
    );
    cluster.files.issue("worker", "expiring", seconds() + 2);
    const connection = await connect({ ...cluster.clientOptions("expiring"), reconnect: false });
    expect(String(await connection.closed())).toMatch(/expired/i);
  });

  it("that are revoked are refused, also of those that are connected; others of the role go on", async () => {
    const key = cluster.files.issue("worker", "revoked");
    cluster.files.issue("worker", "kept");
    const revoked = await connect({ ...cluster.clientOptions("revoked"), reconnect: false });
    const kept = await connect({ ...cluster.clientOptions("kept"), reconnectTimeWait: 50 });
    cluster.files.authority.revoke(key);
    cluster.files.writeConfigs();
    cluster.reload();
    await revoked.closed();
    // Each server reads its configuration anew in its own time.
    const answerOf = async (url: string): Promise<string> => {
      try {
        await (
          await connect({ ...cluster.clientOptions("revoked"), servers: url, reconnect: false })
        ).close();
        return "let in";
      } catch (error) {
        return String(error);
      }
    };
    for (const url of cluster.urls)
      await expect.poll(() => answerOf(url), { timeout: 10_000 }).toMatch(/authorization/i);
    const isAnswered = (): Promise<boolean> =>
      kept.rtt().then(
        () => true,
        () => false,
      );
    await expect.poll(isAnswered, { timeout: 10_000 }).toBe(true);
    await kept.close();
  });
});

describe("TLS", () => {
  it("is required of clients, which require the CA", async () => {
    const { tls: _, ...plain } = cluster.clientOptions("worker");
    await expect(connect({ ...plain, reconnect: false })).rejects.toThrow();
    await expect(
      connect({
        ...plain,
        servers: cluster.urls.map((url) => url.replace("tls:", "nats:")),
        reconnect: false,
      }),
    ).rejects.toThrow();
  });

  it("carries a prediction from edge to worker and back", async () => {
    await cluster.startWorker();
    await cluster.startEdge();
    const prediction = await createPrediction(
      cluster,
      { prompt: "a tree", num_inference_steps: 3, seed: 1 },
      { prefer: "wait" },
    );
    expect(prediction.status).toBe("succeeded");
  });

  it("is refused by an edge that does not know the CA", async () => {
    const { url, edge } = await cluster.startDistrustingEdge();
    const health = await fetch(`${url}/healthz`);
    expect(health.status).toBe(503);
    expect(await health.json()).toMatchObject({ nats: "unreachable" });
    await edge.stop();
  });

  it("is refused by a client in Node that does not know the CA", async () => {
    const asking = promisify(execFile)(NODE, [join(REPO, "gpu-worker", "cli.ts"), "workers"], {
      env: {
        ...process.env,
        VQD_NATS_URL: cluster.urls.join(","),
        VQD_NATS_CREDS: cluster.files.credentialsPath("monitor"),
      },
    });
    await expect(asking).rejects.toMatchObject({
      stderr: expect.stringMatching(/certificate/i) as string,
    });
  });
});

describe("a leaf node at another site", () => {
  it("gives its workers the cluster's jobs", async () => {
    const url = await cluster.startLeaf("site-a");
    await cluster.workers[0]?.stop();
    await cluster.startWorker({ VQD_NATS_URL: url });
    const prediction = await createPrediction(
      cluster,
      { prompt: "a tree", num_inference_steps: 3, seed: 1 },
      { prefer: "wait" },
    );
    expect(prediction.status).toBe("succeeded");
    expect((await request(cluster, "/healthz")).status).toBe(200);
  });
});

describe("permissions", () => {
  const id = "00000000000000000000000000";
  const streams = [...Object.values(STREAMS), "OTHER"];
  /** JetStream's whole API, each request to each stream, in nats-server 2.9 and later. */
  const api = [
    "INFO",
    "STREAM.NAMES",
    "STREAM.LIST",
    ...["NAMES", "CREATE.t", "INFO.t", "DELETE.t"].map((verb) => `TEMPLATE.${verb}`),
    "META.LEADER.STEPDOWN",
    "SERVER.REMOVE",
    "ACCOUNT.PURGE.a",
    "ACCOUNT.STREAM.MOVE.a.s",
    ...streams.flatMap((stream) => [
      ...["CREATE", "UPDATE", "INFO", "DELETE", "PURGE", "SNAPSHOT", "RESTORE", "MSG.GET", "MSG.DELETE"].map(
        (verb) => `STREAM.${verb}.${stream}`,
      ),
      ...["PEER.REMOVE", "LEADER.STEPDOWN"].map((verb) => `STREAM.${verb}.${stream}`),
      `DIRECT.GET.${stream}`,
      `DIRECT.GET.${stream}.vqd.x`,
      `CONSUMER.CREATE.${stream}`,
      `CONSUMER.CREATE.${stream}.c`,
      `CONSUMER.CREATE.${stream}.c.vqd.x`,
      `CONSUMER.DURABLE.CREATE.${stream}.c`,
      `CONSUMER.NAMES.${stream}`,
      `CONSUMER.LIST.${stream}`,
      ...["INFO", "DELETE", "MSG.NEXT", "LEADER.STEPDOWN", "PAUSE", "UNPIN"].map(
        (verb) => `CONSUMER.${verb}.${stream}.c`,
      ),
    ]),
  ].map((verb) => `$JS.API.${verb}`);
  const own = [
    "vqd.jobs.m.normal",
    `vqd.events.0.${id}`,
    `vqd.state.${id}`,
    "vqd.models.m",
    `vqd.control.${id}`,
    "vqd.jobs.too.many.tokens",
    "vqd.other",
    "other",
  ];
  const services = ["PING", "INFO", "STATS", "SCHEMA"].flatMap((verb) =>
    ["", ".vqd-worker", ".vqd-worker.id", ".other"].map((whose) => `$SRV.${verb}${whose}`),
  );
  const inboxes = ["", "_edge", "_worker", "_monitor", "_operator"].map((role) => `_INBOX${role}.x`);
  const rest = [
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.USER.INFO",
    "$JS.EVENT.ADVISORY.x",
  ];
  const acknowledging = streams.flatMap((stream) => [
    `$JS.ACK.${stream}.c.1.1.1.1.0`,
    `$JS.ACK.d.a.${stream}.c.1.1.1.1.0`,
    `$JS.FC.${stream}.c.x`,
  ]);
  const subjects = [...api, ...own, ...services, ...inboxes, ...rest, ...acknowledging];
  const subscriptions = [
    ...own,
    ...services,
    ...inboxes,
    ...rest,
    ...">,*,*.>,vqd.>,vqd.*.>,vqd.jobs.*.*,vqd.events.*.*,vqd.state.*,vqd.models.*,vqd.control.*".split(","),
    ...["", "_edge", "_worker", "_monitor", "_operator"].map((role) => `_INBOX${role}.>`),
    ..."$JS.>,$JS.API.>,$JS.ACK.>,$SYS.>,$SRV.>".split(","),
  ];

  const service = /^\$SRV\.(PING|INFO|STATS)(\.vqd-worker(\.id)?)?$/;
  /** Written down here from what the two halves do, not taken from the lists that are tried. */
  const needed = {
    edge: {
      publish: [
        /^vqd\.jobs\.m\.normal$/,
        /^vqd\.control\.0+$/,
        /^\$JS\.API\.STREAM\.MSG\.DELETE\.VQD_JOBS$/,
        /^\$JS\.API\.STREAM\.INFO\.VQD_(EVENTS|MODELS)$/,
        /^\$JS\.API\.CONSUMER\.(CREATE|DELETE)\.VQD_EVENTS\..+$/,
        /^\$JS\.FC\.VQD_EVENTS\./,
        /^\$JS\.API\.DIRECT\.GET\.VQD_MODELS\../,
      ],
      subscribe: [/^_INBOX_edge\./, /^vqd\.models\.[*m]$/],
    },
    worker: {
      publish: [
        /^vqd\.events\.0\.0+$/,
        /^vqd\.state\.0+$/,
        /^vqd\.models\.m$/,
        /^\$JS\.API\.CONSUMER\.(CREATE|INFO|MSG\.NEXT)\.VQD_JOBS\../,
        /^\$JS\.ACK\.(d\.a\.)?VQD_JOBS\./,
        /^\$JS\.API\.DIRECT\.GET\.VQD_STATE\../,
      ],
      subscribe: [/^_INBOX_worker\./, /^vqd\.control\.(0+|\*)$/, service],
    },
    monitor: {
      publish: [
        service,
        /^\$JS\.API\.CONSUMER\.INFO\.VQD_JOBS\../,
        /^\$JS\.API\.STREAM\.INFO\.VQD_(JOBS|EVENTS|STATE|MODELS)$/,
      ],
      subscribe: [/^_INBOX_monitor\./],
    },
  } as const;

  /** What the server lets a role do, of all that is tried. */
  async function allowed(
    role: RoleName,
    kind: "publish" | "subscribe",
    tried: readonly string[],
  ): Promise<string[]> {
    const connection = await cluster.connectAs(role);
    const refused = new Set<string>();
    const reading = (async () => {
      for await (const status of connection.status()) {
        if (status.type === "error" && status.error instanceof PermissionViolationError) {
          refused.add(status.error.subject);
        }
      }
    })();
    for (const subject of tried) {
      if (kind === "publish") connection.publish(subject);
      else connection.subscribe(subject, { callback: () => {} });
    }
    // The server answers in order: its complaints come before the answer to this.
    await connection.flush();
    await connection.close();
    await reading;
    return tried.filter((subject) => !refused.has(subject));
  }

  it.each(Object.keys(needed) as (keyof typeof needed)[])(
    "of %s are what it needs and no more",
    async (role) => {
      const matching = (tried: readonly string[], patterns: readonly RegExp[]): string[] =>
        tried.filter((subject) => patterns.some((pattern) => pattern.test(subject)));
      const { publish, subscribe } = needed[role];
      expect(await allowed(role, "publish", subjects)).toEqual(matching(subjects, publish));
      expect(await allowed(role, "subscribe", subscriptions)).toEqual(matching(subscriptions, subscribe));
    },
  );
});
