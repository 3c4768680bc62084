// The credentials and configurations of a cluster, by NATS' own tools: `nats` for streams and queues, `nsc` for who is trusted.

import { execFile } from "node:child_process";
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { STREAMS } from "@vqd/shared/subjects.ts";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { isRunnable } from "../support/cli.ts";
import { TestCluster } from "./support/cluster.ts";
import { TINY_KEY } from "./support/nats.ts";

const NATS = process.env["VQD_NATS_CLI"] || "nats";
const NSC = process.env["VQD_NSC"] || "nsc";
const [hasNats, hasNsc] = [isRunnable(NATS), isRunnable(NSC)];

let cluster: TestCluster;
/** What the tools keep of their own. */
let home: string;
beforeAll(async () => {
  home = mkdtempSync(join(tmpdir(), "vqd-nats-tools-"));
  if (hasNats || hasNsc) cluster = await TestCluster.start({ servers: 1 });
});
afterAll(async () => {
  await cluster?.stop();
  rmSync(home, { recursive: true, force: true });
});

/** What the program prints, on both outputs. Rejects if it fails, with the same. */
async function run(program: string, args: readonly string[]): Promise<string> {
  const env = { ...process.env, HOME: home, XDG_CONFIG_HOME: home, XDG_DATA_HOME: home };
  const { stdout, stderr } = await promisify(execFile)(program, args, { env });
  return stdout + stderr;
}

describe.skipIf(!hasNats)("nats (VQD_NATS_CLI)", () => {
  /** As docs/nats.md says. */
  const context = (role: string, ...more: string[]): Promise<string> =>
    run(NATS, [
      "context",
      "add",
      `vqd-${role}`,
      `--server=${cluster.urls.join(",")}`,
      `--tlsca=${cluster.caFile}`,
      `--creds=${cluster.files.credentialsPath(role)}`,
      `--inbox-prefix=_INBOX_${role}`,
      ...more,
    ]);
  const nats = (role: string, ...args: string[]): Promise<string> =>
    run(NATS, ["--context", `vqd-${role}`, ...args]);
  const infoOf = async (role: string, ...args: string[]): Promise<object> =>
    JSON.parse(await nats(role, ...args, "--json")) as object;
  const consumer = `workers-${TINY_KEY}`;

  beforeAll(async () => {
    await context("operator");
    await context("edge");
    for (const role of ["monitor", "worker"]) await context(role, "--js-domain=vqd");
  });

  it("shows the operator all streams and queues, and does what is asked with them", async () => {
    const names = JSON.parse(await nats("operator", "stream", "ls", "--names", "--json")) as string[];
    expect(names.toSorted()).toEqual(Object.values(STREAMS).toSorted());
    expect(await nats("operator", "stream", "report")).toContain(STREAMS.routes);
    expect(await infoOf("operator", "stream", "info", STREAMS.jobs)).toMatchObject({
      config: { name: STREAMS.jobs, retention: "workqueue" },
    });
    expect(await nats("operator", "consumer", "ls", STREAMS.jobs)).toContain(`${consumer}--high`);
    expect(await nats("operator", "stream", "purge", STREAMS.state, "--force")).toContain(
      "Purged 0 messages",
    );
  });

  it("shows the monitor how long a queue is, and what is in no stream", async () => {
    expect(await infoOf("monitor", "stream", "info", STREAMS.events)).toMatchObject({
      config: { name: STREAMS.events },
      state: { messages: 0 },
    });
    for (const role of ["monitor", "worker"]) {
      const info = await infoOf(role, "consumer", "info", STREAMS.jobs, consumer);
      expect(info).toMatchObject({ name: consumer, num_pending: 0 });
    }
    const account = await nats("operator", "account", "info");
    expect(account).toMatch(/TLS Verified: +issuer CN=vqd NATS/);
  });

  it.each([
    ["operator", "publish a job", ["pub", `vqd.jobs.${TINY_KEY}.normal`, "x"]],
    ["monitor", "delete messages", ["stream", "purge", STREAMS.state, "--force"]],
    ["worker", "list the streams", ["stream", "ls"]],
    ["edge", "delete a stream", ["stream", "rm", STREAMS.events, "--force"]],
  ])("lets the %s not %s", async (role, _, args) => {
    // It waits for an answer all the same.
    await expect(nats(role, ...args, "--timeout=500ms")).rejects.toMatchObject({
      stderr: expect.stringMatching(/permissions violation/i) as string,
    });
  });
});

describe.skipIf(!hasNsc)("nsc (VQD_NSC)", () => {
  const nsc = (...args: string[]): Promise<string> => run(NSC, [...args, "--all-dirs", join(home, "nsc")]);
  const file = (name: string, text: string): string => {
    const path = join(home, name);
    writeFileSync(path, text);
    return path;
  };

  it("takes over operator, accounts and users, and finds nothing wrong with them", async () => {
    const config = JSON.parse(readFileSync(cluster.files.configPath("nodes", "n1"), "utf8")) as {
      operator: string;
      system_account: string;
      resolver_preload: Record<string, string>;
    };
    expect(await nsc("add", "operator", "--url", file("operator.jwt", config.operator))).toContain(
      'imported operator "vqd"',
    );
    for (const [key, jwt] of Object.entries(config.resolver_preload)) {
      expect(await nsc("import", "account", "--file", file(`${key}.jwt`, jwt))).toContain(
        "successfully imported",
      );
    }
    for (const role of ["edge", "worker", "monitor", "operator"]) {
      const path = cluster.files.credentialsPath(role);
      expect(await nsc("import", "user", "--file", path)).toContain(`user ${role} was successfully imported`);
    }
    const verdict = await nsc("validate", "--all-accounts");
    // One for the operator, and one for each of its accounts.
    expect(verdict.match(/No issues found/g)).toHaveLength(1 + Object.keys(config.resolver_preload).length);
    expect(verdict).toContain('Account "VQD"');
    expect(await nsc("describe", "account", "VQD")).toMatch(/Jetstream +\| Enabled/);
    expect(await nsc("describe", "user", "--name", "worker", "--account", TINY_KEY)).toMatch(
      /Issuer Scoped +\| Yes/,
    );
    expect(await nsc("describe", "operator")).toContain(config.system_account);
  });
});
