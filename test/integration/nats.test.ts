// A real nats-server with the stack's configuration: who may do what, and the streams.

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { type JetStreamManager, StorageType, jetstream, jetstreamManager } from "@nats-io/jetstream";
import { type NatsConnection, connect, nanos } from "nats";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { modelSubject } from "@vqd/shared/subjects.ts";
import { loadPasswords, type Passwords } from "../../infra/nats/config.ts";
import { applyStreams } from "../../infra/nats/streams.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { startTestNats, type TestNats, TINY_KEY } from "./support/nats.ts";
import { allowedSubjects, matching, neededSubjects, subjectSpace } from "./support/subject-space.ts";

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

describe("permissions", () => {
  const space = subjectSpace(TINY_KEY);
  const needed = neededSubjects(TINY_KEY);

  it.each(["edge", "worker", "monitor"] as const)("of %s are what it needs and no more", async (user) => {
    for (const kind of ["publish", "subscribe"] as const) {
      const allowed = await allowedSubjects(await connectAs(user), kind, space[kind]);
      expect(allowed).toEqual(matching(space[kind], needed[user][kind]));
    }
  });

  it("of the operator are to set up the streams, which it is not made to do here, and to route models", async () => {
    const heard = await allowedSubjects(await connectAs("operator"), "subscribe", space.subscribe);
    expect(heard).toEqual(matching(space.subscribe, needed.operator.subscribe));
    // Its requests would be carried out.
    const others = space.publish.filter((subject) => !subject.startsWith("$JS.API."));
    const allowed = await allowedSubjects(await connectAs("operator"), "publish", others);
    expect(allowed).toEqual(matching(others, needed.operator.publish));
  });
});

it("lets a worker answer a monitor, once", async () => {
  const [monitor, worker] = await Promise.all([connectAs("monitor"), connectAs("worker")]);
  let reply = "";
  worker.subscribe("$SRV.STATS.vqd-worker", {
    callback: (_error, message) => {
      reply = message.reply ?? "";
      message.respond("fine");
    },
  });
  await worker.flush();
  const answer = await monitor.request("$SRV.STATS.vqd-worker", "", { timeout: 2_000 });
  expect(answer.string()).toBe("fine");
  expect(await allowedSubjects(worker, "publish", [reply, "_INBOX_monitor.x"])).toEqual([]);
});

it("shows what workers say of themselves without what would control the terminal", async () => {
  const hostile = "\u001b]0;pwned\u0007\u009b2J\u202e";
  const data = {
    worker: hostile,
    status: "ready",
    model: "vqd/tiny",
    version: "0".repeat(64),
    numericsId: hostile,
    provider: hostile,
    quantization: hostile,
    loaded: true,
    slots: 1,
    busySlots: 0,
    stepMs: 1,
    jobs: 0,
    failedJobs: 0,
    busyMs: 0,
    uptimeSeconds: 1,
  };
  const worker = await connectAs("worker");
  worker.subscribe("$SRV.STATS.vqd-worker", {
    callback: (_error, message) =>
      void message.respond(
        JSON.stringify({ name: "vqd-worker", id: hostile, version: hostile, endpoints: [{ data }] }),
      ),
  });
  await worker.flush();
  const env = {
    ...process.env,
    VQD_NATS_URL: url,
    VQD_NATS_USER: "monitor",
    VQD_NATS_PASSWORD: passwords.monitor,
  };
  for (const options of [[], ["--json"]]) {
    const args = [join(REPO, "gpu-worker", "cli.ts"), "workers", "--wait", "2000", ...options];
    const { stdout } = await promisify(execFile)(process.execPath, args, { env });
    // oxlint-disable-next-line no-control-regex -- checks for their absence
    expect(stdout).not.toMatch(/[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u202e]/);
    expect(stdout).toContain(String.raw`\u001b]0;pwned\u0007\u009b2J\u202e`);
    if (options.length > 0) expect(JSON.parse(stdout)).toMatchObject([{ worker: hostile }]);
  }
  await worker.close();
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
          max_bytes: 1024 ** 3,
          max_age: hour,
        },
      ],
      [
        "VQD_EVENTS",
        {
          subjects: ["vqd.events.*.>"],
          retention: "limits",
          discard: "old",
          max_bytes: 1024 ** 3,
          max_age: hour,
        },
      ],
      [
        "VQD_STATE",
        {
          subjects: ["vqd.state.*.*", "vqd.state.*"],
          max_msgs_per_subject: 1,
          max_msg_size: 90_112,
          max_bytes: 256 * 1024 ** 2,
          max_age: hour,
          allow_direct: true,
        },
      ],
      [
        "VQD_MODELS",
        {
          subjects: ["vqd.models.*"],
          discard: "new",
          max_msgs_per_subject: 1,
          max_msg_size: 860_160,
          max_bytes: 64 * 1024 ** 2,
          max_age: 0,
          allow_direct: true,
        },
      ],
      [
        "VQD_ROUTES",
        {
          subjects: ["vqd.routes.*"],
          discard: "new",
          max_msgs_per_subject: 16,
          max_msg_size: 35_840,
          max_bytes: 32 * 1024 ** 2,
          max_age: 0,
          allow_direct: true,
        },
      ],
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

  it("let one model's jobs fill only their own part of the queue, if told to", async () => {
    const js = jetstream(await connectAs("edge"));
    await jsm.streams.purge("VQD_JOBS");
    const operator = { url, password: passwords.operator };
    await applyStreams(operator, { modelQueueLimit: 2 });
    await js.publish("vqd.jobs.absent--model.normal", "1");
    await js.publish("vqd.jobs.absent--model.normal", "2");
    await expect(js.publish("vqd.jobs.absent--model.normal", "3")).rejects.toMatchObject({ code: 10_077 });
    await js.publish("vqd.jobs.absent--model.high", "3");
    await js.publish("vqd.jobs.some--model.normal", "4");
    // It stays, and can be lifted.
    await applyStreams(operator);
    await expect(js.publish("vqd.jobs.absent--model.normal", "5")).rejects.toMatchObject({ code: 10_077 });
    await applyStreams(operator, { modelQueueLimit: 0 });
    await js.publish("vqd.jobs.absent--model.normal", "5");
    await jsm.streams.purge("VQD_JOBS");
  });

  it("keep as many events as they are told to", async () => {
    const operator = { url, password: passwords.operator };
    await applyStreams(operator, { eventsMib: 32, eventsHours: 0.5 });
    await applyStreams(operator);
    const { config } = await jsm.streams.info("VQD_EVENTS");
    expect(config).toMatchObject({ max_bytes: 32 * 1024 ** 2, max_age: 1.8e12 });
    await applyStreams(operator, { eventsMib: 1_024, eventsHours: 1 });
  });

  it("forget announced models only when asked", async () => {
    const worker = jetstream(await connectAs("worker"));
    await worker.publish(modelSubject(TINY_KEY), "old");
    await worker.publish(modelSubject(TINY_KEY), "new");
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
