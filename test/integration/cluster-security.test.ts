// A cluster's security: TLS by a private CA, and credentials that expire, are revoked, and allow nothing but what is needed.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { join } from "node:path";
import { connect, type ConnectionOptions } from "nats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NODE, REPO } from "../../infra/stack/paths.ts";
import { createPrediction, request } from "./support/client.ts";
import { TestCluster } from "./support/cluster.ts";
import { TINY_KEY } from "./support/nats.ts";
import { allowedSubjects, matching, neededSubjects, subjectSpace } from "./support/subject-space.ts";

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
    const models = [TINY_KEY];
    cluster.files.issue("worker", { models, name: "expired", expires: seconds() - 1 });
    await expect(connect({ ...cluster.clientOptions("expired"), reconnect: false })).rejects.toThrow(
      /authorization/i,
    );
    cluster.files.issue("worker", { models, name: "expiring", expires: seconds() + 2 });
    const connection = await connect({ ...cluster.clientOptions("expiring"), reconnect: false });
    expect(String(await connection.closed())).toMatch(/expired/i);
  });

  it("that are revoked are refused, also of those that are connected; others of the role go on", async () => {
    const { publicKey: key } = cluster.files.issue("worker", { models: [TINY_KEY], name: "revoked" });
    cluster.files.issue("worker", { models: [TINY_KEY], name: "kept" });
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
  const space = subjectSpace(TINY_KEY);
  const needed = neededSubjects(TINY_KEY);

  it.each(["edge", "worker", "monitor", "leaf"] as const)(
    "of %s are what it needs and no more",
    async (role) => {
      if (role === "leaf") cluster.files.issue(role, { name: role, models: [TINY_KEY] });
      for (const kind of ["publish", "subscribe"] as const) {
        const allowed = await allowedSubjects(await cluster.connectAs(role), kind, space[kind]);
        expect(allowed).toEqual(matching(space[kind], needed[role][kind]));
      }
    },
  );

  it("of the operator are to set up the streams, which it is not made to do here, and to route models", async () => {
    const opened = () => cluster.connectAs("operator");
    const heard = await allowedSubjects(await opened(), "subscribe", space.subscribe);
    expect(heard).toEqual(matching(space.subscribe, needed.operator.subscribe));
    const others = space.publish.filter((subject) => !subject.startsWith("$JS.API."));
    const allowed = await allowedSubjects(await opened(), "publish", others);
    expect(allowed).toEqual(matching(others, needed.operator.publish));
  });
});
