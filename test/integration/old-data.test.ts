// The data folder of a release that ran the edge in wrangler's development server still opens.

import { type ChildProcess, spawn } from "node:child_process";
import { createHash, randomBytes } from "node:crypto";
import { once } from "node:events";
import { existsSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { storedKeyName } from "@vqd/shared/api-key.ts";
import { afterAll, beforeAll, expect, it } from "vitest";
import { NODE, REPO, WRANGLER } from "../../infra/stack/paths.ts";
import { freePorts } from "../../infra/stack/ports.ts";
import { type Stack, startStack } from "../../infra/stack/stack.ts";
import { createPrediction, type PredictionBody, request } from "./support/client.ts";
import { startTestStack, TINY_MODEL } from "./support/stack.ts";

const API_KEY = "the-key-of-both";
const ALICE = { url: "", apiKey: randomBytes(24).toString("base64url") };
const WAIT = { timeout: 60_000, interval: 50 };
const sha256 = (text: string): string => createHash("sha256").update(text).digest("hex");

let data: string;
beforeAll(() => {
  data = mkdtempSync(join(tmpdir(), "vqd-old-"));
});
afterAll(() => rmSync(data, { recursive: true, force: true }));

function wrangler(args: readonly string[]): ChildProcess {
  const env = { ...process.env, WRANGLER_SEND_METRICS: "false", WRANGLER_WRITE_LOGS: "false" };
  return spawn(NODE, ["--no-warnings", WRANGLER, ...args], { cwd: REPO, env, stdio: "ignore" });
}

interface Made {
  readonly prediction: PredictionBody;
  readonly image: Buffer;
}

/** Creates a prediction and a key as that release did, with the NATS and the worker of `stack`. */
async function useOldRelease({ natsPorts, passwords }: Stack): Promise<Made> {
  const place = ["--persist-to", join(data, "edge")];
  const key = {
    name: "alice",
    scopes: ["create", "read"],
    createdAt: 0,
    expiresAt: null,
    perMinute: null,
    live: null,
  };
  const entry = [storedKeyName(sha256(ALICE.apiKey)), JSON.stringify(key)];
  const put = wrangler(["kv", "key", "put", ...entry, "--binding", "KEYS", "--local", ...place]);
  expect(await once(put, "exit")).toEqual([0, null]);

  const envFile = join(data, "old.env");
  const variables = {
    NATS_URL: `ws://127.0.0.1:${natsPorts.websocket}`,
    NATS_USER: "edge",
    NATS_PASSWORD: passwords.edge,
    API_KEYS: `dev:${sha256(API_KEY)}`,
  };
  const lines = Object.entries(variables).map(([name, value]) => `${name}='${value}'\n`);
  writeFileSync(envFile, lines.join(""));
  const [port = 0, inspector = 0] = await freePorts(2);
  const ports = ["--ip", "127.0.0.1", "--port", String(port), "--inspector-port", String(inspector)];
  const edge = wrangler(["dev", ...ports, "--env-file", envFile, ...place]);
  const ended = once(edge, "exit");
  try {
    const old = { url: `http://127.0.0.1:${port}`, apiKey: API_KEY };
    const serves = async (): Promise<boolean> =>
      (await fetch(`${old.url}/healthz`).catch(() => undefined))?.ok ?? false;
    await expect.poll(serves, WAIT).toBe(true);
    const prediction = await createPrediction(old, { prompt: "a tree", seed: 1 }, { prefer: "wait" });
    expect(prediction).toMatchObject({ status: "succeeded", error: null });
    const file = await fetch(prediction.output?.[0] ?? "");
    return { prediction, image: Buffer.from(await file.arrayBuffer()) };
  } finally {
    edge.kill("SIGTERM");
    await ended;
  }
}

async function makeOldData(): Promise<Made> {
  const test = await startTestStack({ model: TINY_MODEL });
  try {
    // Two edges would cancel each other's predictions.
    await test.stack.edge.stop();
    return await useOldRelease(test.stack);
  } finally {
    await test.stop();
  }
}

it("has its predictions, images and keys", async () => {
  const { prediction, image } = await makeOldData();
  expect(existsSync(join(data, "edge", "v3"))).toBe(true);
  const path = new URL(prediction.output?.[0] ?? "").pathname;
  // The first start moves the data; the second finds it moved.
  for (const times of [1, 2]) {
    await using stack = await startStack({ data, apiKey: API_KEY, workers: 0 });
    const record = await request(stack, `/v1/predictions/${prediction.id}`);
    expect(await record.json(), `start ${times}`).toMatchObject({
      status: "succeeded",
      input: { prompt: "a tree" },
    });
    const file = await fetch(stack.url + path);
    expect(file.headers.get("content-type")).toBe("image/png");
    expect(Buffer.from(await file.arrayBuffer()).equals(image)).toBe(true);
    const alice = await request({ ...ALICE, url: stack.url }, "/v1/predictions");
    expect(alice.status).toBe(200);
    expect(existsSync(join(data, "edge", "v3"))).toBe(false);
  }
});
