// A worker on another machine: it joins by the printed line, and without TLS, its password or the stack's CA it does not get in.
// Another address of this machine stands for the other machine's way to it.

import { spawn, type ChildProcess } from "node:child_process";
import { once } from "node:events";
import { connect as connectTcp } from "node:net";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { connect } from "nats";
import { INBOX_PREFIX } from "@vqd/shared/subjects.ts";
import { joinToken, parseJoinToken } from "@vqd/shared/nats/join.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { createCa } from "../../infra/nats/cluster/certificates.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { createPrediction, getPrediction } from "./support/client.ts";
import { startTestStack, type TestStack, TINY_MODEL } from "./support/stack.ts";

const ADDRESS = "127.0.0.2";
const CLI = join(REPO, "gpu-worker", "cli.ts");

let test: TestStack;
let folder: string;
const started: ChildProcess[] = [];
beforeAll(async () => {
  folder = mkdtempSync(join(tmpdir(), "vqd-join-"));
  test = await startTestStack({ model: TINY_MODEL, workers: 0, listen: { host: ADDRESS, port: 0 } });
});
afterAll(async () => {
  await Promise.all(
    started.map(async (child) => {
      if (child.exitCode !== null || child.signalCode !== null) return;
      const exited = once(child, "exit");
      child.kill();
      await exited;
    }),
  );
  await test.stop();
  rmSync(folder, { recursive: true, force: true });
});

/** Runs `vqd join` as on a machine that has nothing of the stack; gives its output so far. */
function joining(token: string): { child: ChildProcess; output: () => string } {
  const env = { ...process.env, VQD_CACHE: folder, VQD_HEALTH_PORT: "0", VQD_NATS_URL: "nats://192.0.2.1:1" };
  const child = spawn(process.execPath, [CLI, "join", token, "--model", TINY_MODEL], { env });
  started.push(child);
  let text = "";
  for (const stream of [child.stdout, child.stderr]) stream.on("data", (chunk) => (text += String(chunk)));
  return { child, output: () => text };
}
const token = (): string => test.stack.joinToken ?? expect.fail("there is none");

it("joins by the printed line, and makes images", async () => {
  joining(token());
  const { id } = await createPrediction(
    test,
    { prompt: "a", num_inference_steps: 3 },
    { prefer: "wait" },
  ).catch(async () => {
    // Until the worker has announced its model there is none.
    await expect
      .poll(
        async () =>
          (
            await fetch(`${test.url}/v1/models`, { headers: { authorization: `Bearer ${test.apiKey}` } })
          ).text(),
        {
          timeout: 60_000,
          interval: 500,
        },
      )
      .toContain("vqd/checkpoint");
    return createPrediction(test, { prompt: "a", num_inference_steps: 3 });
  });
  await expect
    .poll(async () => (await getPrediction(test, id)).status, { timeout: 60_000, interval: 250 })
    .toBe("succeeded");
});

it("does not let anybody in without the password, or with another CA", async () => {
  const right = parseJoinToken(token());
  const wrong = joining(joinToken({ ...right, password: "not the password of the stack" }));
  await expect.poll(wrong.output, { timeout: 30_000 }).toMatch(/authorization|credentials/i);
  const { certificate } = await createCa("another stack");
  const ca = certificate.replaceAll(/-----[^-]+-----|\s/g, "");
  const other = joining(joinToken({ ...right, ca }));
  await expect.poll(other.output, { timeout: 30_000 }).toMatch(/another certificate than the token's/);
});

it("says nothing without TLS, and lets a worker's password do what a worker may", async () => {
  const { url, password, ca } = parseJoinToken(token());
  const { hostname, port } = new URL(url);
  const socket = connectTcp(Number(port), hostname);
  let heard = "";
  socket.on("data", (chunk) => (heard += String(chunk)));
  socket.on("error", () => {});
  socket.write('CONNECT {"user":"worker"}\r\nPING\r\n');
  await once(socket, "close");
  expect(heard).not.toMatch(/INFO|PONG/);

  const caFile = join(folder, "trusted.pem");
  writeFileSync(caFile, `-----BEGIN CERTIFICATE-----\n${ca}\n-----END CERTIFICATE-----\n`);
  const nc = await connect({
    servers: url,
    user: "worker",
    pass: password,
    tls: { caFile, handshakeFirst: true },
    inboxPrefix: INBOX_PREFIX.worker,
  });
  const refused = new Promise<Error | null>((resolve) => {
    nc.subscribe("vqd.events.>", { callback: resolve });
  });
  expect((await refused)?.message).toMatch(/permission/i);
  await nc.close();
});
