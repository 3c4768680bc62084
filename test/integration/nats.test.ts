// A real nats-server with the stack's configuration: who may do what, and the streams.

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type JetStreamManager, StorageType, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, connect, nanos } from "nats";
import { afterAll, beforeAll, beforeEach, describe, expect, it } from "vitest";
import { loadPasswords, type Passwords } from "../../infra/nats/config.ts";
import { applyStreams } from "../../infra/nats/streams.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { startTestNats, type TestNats } from "./support/nats.ts";

let nats: TestNats;
let dir: string;
let url: string;
let configPath: string;
let passwords: Passwords;
const connections: NatsConnection[] = [];

beforeAll(async () => {
  nats = await startTestNats();
  ({ dir, url, configPath, passwords } = nats);
});
afterAll(async () => {
  await Promise.all(connections.map((connection) => connection.close()));
  await nats.stop();
});

async function connectAs(user: keyof Passwords, inboxPrefix = `_INBOX_${user}`): Promise<NatsConnection> {
  const connection = await connect({
    servers: url,
    user,
    pass: passwords[user],
    inboxPrefix,
    reconnect: false,
  });
  connections.push(connection);
  return connection;
}

/** The server's word on publishing, undefined if it let the message through. Closes the connection. */
async function refusalOfPublish(connection: NatsConnection, subject: string): Promise<string | undefined> {
  const refusals: string[] = [];
  const reading = (async () => {
    for await (const event of connection.status()) {
      if (event.type === "error") refusals.push(event.error.message);
    }
  })();
  connection.publish(subject);
  // The server answers in order: its complaint comes before the answer to this ping.
  await connection.flush();
  await connection.close();
  await reading;
  return refusals[0];
}

async function refusalOfSubscribe(connection: NatsConnection, subject: string): Promise<string | undefined> {
  let refusal: string | undefined;
  const subscription = connection.subscribe(subject, {
    callback: (error) => {
      refusal ??= error?.message;
    },
  });
  await connection.flush();
  if (!subscription.isClosed()) subscription.unsubscribe();
  return refusal;
}

describe("files", () => {
  it("are for this user only", () => {
    for (const file of ["passwords.json", "nats-server.conf"]) {
      expect(statSync(join(dir, file)).mode & 0o777).toBe(0o600);
    }
  });

  it("of an older release get a password for the user that it did not have, once", () => {
    const folder = mkdtempSync(join(tmpdir(), "vqd-passwords-"));
    try {
      const older = { edge: "e".repeat(32), worker: "w".repeat(32), operator: "o".repeat(32) };
      writeFileSync(join(folder, "passwords.json"), JSON.stringify(older));
      const loaded = loadPasswords(folder);
      expect(loaded).toEqual({ ...older, monitor: expect.stringMatching(/^[\w-]{32,}$/) as string });
      expect(loadPasswords(folder)).toEqual(loaded);
    } finally {
      rmSync(folder, { recursive: true, force: true });
    }
  });

  it("keep their passwords, which are long and differ", () => {
    expect(loadPasswords(dir)).toEqual(passwords);
    const all = Object.values(passwords);
    expect(new Set(all).size).toBe(4);
    for (const password of all) {
      expect(password.length).toBeGreaterThanOrEqual(32);
      expect(readFileSync(configPath, "utf8")).toContain(password);
    }
  });
});

describe("connections", () => {
  it("need a user and the right password", async () => {
    for (const options of [
      {},
      { user: "edge" },
      { user: "edge", pass: "wrong" },
      { user: "admin", pass: "x" },
    ]) {
      await expect(connect({ servers: url, ...options, reconnect: false })).rejects.toThrow(/authorization/i);
    }
  });
});

const id = "00000000000000000000000000";

describe.each([
  {
    user: "edge" as const,
    publish: [
      "vqd.jobs.some--model.normal",
      `vqd.control.${id}`,
      "$JS.API.STREAM.MSG.DELETE.VQD_JOBS",
      "$JS.API.CONSUMER.CREATE.VQD_EVENTS.x.vqd.events.0.*",
    ],
    publishNot: [
      `vqd.events.0.${id}`,
      `vqd.state.${id}`,
      "vqd.models.some--model",
      "vqd.jobs.too.many.tokens",
      "vqd.other",
      "$JS.API.INFO",
      "$JS.API.STREAM.CREATE.VQD_JOBS",
      "$JS.API.STREAM.UPDATE.VQD_JOBS",
      "$JS.API.STREAM.DELETE.VQD_JOBS",
      "$JS.API.STREAM.PURGE.VQD_JOBS",
      "$JS.API.STREAM.PURGE.VQD_EVENTS",
      "$JS.API.STREAM.MSG.DELETE.VQD_EVENTS",
      "$JS.API.STREAM.MSG.GET.VQD_JOBS",
      "$JS.API.CONSUMER.CREATE.VQD_JOBS.thief",
      "$JS.API.CONSUMER.MSG.NEXT.VQD_JOBS.workers-x",
      "$JS.API.DIRECT.GET.VQD_STATE.vqd.state.x",
      "$JS.ACK.VQD_JOBS.workers-x.1.1.1.1.0",
      "$SYS.REQ.SERVER.PING",
      "_INBOX_worker.x",
    ],
    subscribe: ["_INBOX_edge.x", "vqd.models.*"],
    subscribeNot: [
      ">",
      "vqd.>",
      "vqd.jobs.*.*",
      "vqd.events.0.*",
      "_INBOX_worker.>",
      "_INBOX.>",
      "$JS.>",
      "$SYS.>",
    ],
  },
  {
    user: "worker" as const,
    publish: [
      `vqd.events.0.${id}`,
      `vqd.state.${id}`,
      "vqd.models.some--model",
      "$JS.API.CONSUMER.MSG.NEXT.VQD_JOBS.workers-x",
      "$JS.ACK.VQD_JOBS.workers-x.1.1.1.1.0",
      "$JS.ACK.hub.acc.VQD_JOBS.workers-x.1.1.1.1.0",
    ],
    publishNot: [
      "vqd.jobs.some--model.normal",
      `vqd.control.${id}`,
      "$JS.API.INFO",
      "$JS.API.STREAM.CREATE.VQD_JOBS",
      "$JS.API.STREAM.UPDATE.VQD_JOBS",
      "$JS.API.STREAM.DELETE.VQD_EVENTS",
      "$JS.API.STREAM.PURGE.VQD_JOBS",
      "$JS.API.STREAM.MSG.DELETE.VQD_JOBS",
      "$JS.API.CONSUMER.DELETE.VQD_JOBS.workers-x",
      "$JS.API.CONSUMER.CREATE.VQD_EVENTS.spy",
      "$JS.API.DIRECT.GET.VQD_MODELS.vqd.models.x",
      "$JS.ACK.VQD_EVENTS.x.1.1.1.1.0",
      "$SYS.REQ.SERVER.PING",
      "_INBOX_edge.x",
    ],
    subscribe: ["_INBOX_worker.x", `vqd.control.${id}`, "$SRV.STATS.vqd-worker"],
    subscribeNot: [
      "$SRV.>",
      "$SRV.STATS.another",
      ">",
      "vqd.>",
      "vqd.jobs.*.*",
      "vqd.events.>",
      "vqd.models.*",
      "_INBOX_edge.>",
      "$JS.>",
      "$SYS.>",
    ],
  },
  {
    user: "monitor" as const,
    publish: ["$SRV.STATS.vqd-worker", "$SRV.PING", "$JS.API.CONSUMER.INFO.VQD_JOBS.workers-x"],
    publishNot: [
      "vqd.jobs.some--model.normal",
      `vqd.control.${id}`,
      `vqd.events.0.${id}`,
      "$SRV.STATS.another",
      "$JS.API.CONSUMER.MSG.NEXT.VQD_JOBS.workers-x",
      "$JS.API.CONSUMER.INFO.VQD_EVENTS.x",
      "$JS.API.STREAM.DELETE.VQD_JOBS",
      "$JS.API.DIRECT.GET.VQD_STATE.vqd.state.x",
      "_INBOX_worker.x",
    ],
    subscribe: ["_INBOX_monitor.x"],
    subscribeNot: [">", "vqd.>", "vqd.events.>", "$SRV.>", "_INBOX_worker.>", "_INBOX_edge.>", "$SYS.>"],
  },
])("$user", ({ user, publish, publishNot, subscribe, subscribeNot }) => {
  let connection: NatsConnection;
  beforeEach(async () => {
    connection = await connectAs(user);
  });

  it.each(publish)("may publish %s", async (subject) => {
    expect(await refusalOfPublish(connection, subject)).toBeUndefined();
  });
  it.each(publishNot)("may not publish %s", async (subject) => {
    expect(await refusalOfPublish(connection, subject)).toMatch(/permissions violation/i);
  });
  it.each(subscribe)("may subscribe to %s", async (subject) => {
    expect(await refusalOfSubscribe(connection, subject)).toBeUndefined();
  });
  it.each(subscribeNot)("may not subscribe to %s", async (subject) => {
    expect(await refusalOfSubscribe(connection, subject)).toMatch(/permissions violation/i);
  });
});

it("lets a worker answer a control request, once", async () => {
  const [edge, worker] = await Promise.all([connectAs("edge"), connectAs("worker")]);
  let reply = "";
  worker.subscribe(`vqd.control.${id}`, {
    callback: (_error, message) => {
      reply = message.reply ?? "";
      message.respond("yes");
    },
  });
  await worker.flush();
  const answer = await edge.request(`vqd.control.${id}`, "cancel", { timeout: 2_000 });
  expect(answer.string()).toBe("yes");
  expect(await refusalOfPublish(worker, reply)).toMatch(/permissions violation/i);
});

describe("streams", () => {
  let jsm: JetStreamManager;
  beforeAll(async () => {
    jsm = await jetstreamManager(await connectAs("operator"));
  });

  it("are as the design says", async () => {
    const hour = nanos(3_600_000);
    const wanted = [
      [
        "VQD_JOBS",
        {
          subjects: ["vqd.jobs.*.*"],
          retention: "workqueue",
          discard: "new",
          max_msgs: 1_000,
          max_age: hour,
        },
      ],
      [
        "VQD_EVENTS",
        {
          subjects: ["vqd.events.*.*"],
          retention: "limits",
          discard: "old",
          max_bytes: 1024 ** 3,
          max_age: hour,
        },
      ],
      [
        "VQD_STATE",
        { subjects: ["vqd.state.*"], max_msgs_per_subject: 1, max_age: hour, allow_direct: true },
      ],
      ["VQD_MODELS", { subjects: ["vqd.models.*"], max_msgs_per_subject: 1, max_age: 0, allow_direct: true }],
    ] as const;
    for (const [name, config] of wanted) {
      expect((await jsm.streams.info(name)).config).toMatchObject({ ...config, storage: "file" });
    }
  });

  it("are changed when the settings differ, with what they hold, and can be applied again and again", async () => {
    const js = jetstream(await connectAs("edge"));
    await jsm.streams.purge("VQD_JOBS");
    await js.publish("vqd.jobs.some--model.normal", "1");
    const operator = { url, password: passwords.operator };
    await applyStreams(operator, { queueLimit: 2 });
    await applyStreams(operator, { queueLimit: 2 });
    const { config, state } = await jsm.streams.info("VQD_JOBS");
    expect(config.max_msgs).toBe(2);
    expect(state.messages).toBe(1);

    await js.publish("vqd.jobs.some--model.normal", "2");
    await expect(js.publish("vqd.jobs.some--model.normal", "3")).rejects.toMatchObject({ code: 10_077 });
    await applyStreams(operator);
    await js.publish("vqd.jobs.some--model.normal", "3");
  });

  it("forget announced models only when asked", async () => {
    const worker = jetstream(await connectAs("worker"));
    await worker.publish("vqd.models.some--model", "old");
    await worker.publish("vqd.models.some--model", "new");
    const operator = { url, password: passwords.operator };
    const count = async (): Promise<number> => (await jsm.streams.info("VQD_MODELS")).state.messages;
    await applyStreams(operator);
    expect(await count()).toBe(1);
    await applyStreams(operator, { purgeModels: true });
    expect(await count()).toBe(0);
  });

  describe("by vqd streams apply", () => {
    async function vqd(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
      const cli = join(REPO, "gpu-worker", "cli.ts");
      const env = {
        ...process.env,
        VQD_NATS_URL: url,
        VQD_NATS_USER: "operator",
        VQD_NATS_PASSWORD: passwords.operator,
      };
      const run = promisify(execFile)(process.execPath, [cli, "streams", "apply", ...args], { env });
      return run.then(
        (output) => ({ code: 0, ...output }),
        (error: unknown) => error as { code: number; stdout: string; stderr: string },
      );
    }

    it("show what differs, are changed when told to, and only then", async () => {
      const limit = async (): Promise<number> => (await jsm.streams.info("VQD_JOBS")).config.max_msgs;
      await applyStreams({ url, password: passwords.operator });
      const looked = await vqd("--queue-limit", "7", "--dry-run");
      expect(looked.code).toBe(3);
      expect(looked.stdout).toContain("~ VQD_JOBS\n    max_msgs: 1000 -> 7\n");
      expect(looked.stdout).toContain("VQD_EVENTS is up to date");
      const unasked = await vqd("--queue-limit", "7");
      expect(unasked).toMatchObject({ code: 2, stderr: expect.stringContaining("--yes") as string });
      expect(await limit()).toBe(1_000);

      expect((await vqd("--queue-limit", "7", "--yes")).code).toBe(0);
      expect(await limit()).toBe(7);
      // What was chosen once stays, and is no difference.
      const again = await vqd("--dry-run");
      expect(again.code).toBe(0);
      expect(again.stdout).toContain("VQD_JOBS is up to date");
    });

    it("make those that are missing", async () => {
      await jsm.streams.delete("VQD_STATE");
      const made = await vqd("--yes");
      expect(made.stdout).toContain("+ VQD_STATE\n");
      expect((await jsm.streams.info("VQD_STATE")).config).toMatchObject({
        allow_direct: true,
        num_replicas: 1,
      });
    });

    it("are left alone where a server cannot change them", async () => {
      await jsm.streams.delete("VQD_MODELS");
      await jsm.streams.add({ name: "VQD_MODELS", subjects: ["vqd.models.*"], storage: StorageType.Memory });
      const refused = await vqd("--yes");
      expect(refused).toMatchObject({
        code: 1,
        stderr: expect.stringContaining("VQD_MODELS: storage") as string,
      });
      await jsm.streams.delete("VQD_MODELS");
      await applyStreams({ url, password: passwords.operator });
    });

    it.each([["--replicas", "2"], ["--queue-limit", "none"], ["stray"]])("refuses %s %s", async (...args) => {
      expect((await vqd(...args)).code).toBe(2);
    });
  });
});
