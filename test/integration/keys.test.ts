// `npm run keys` beside a running stack.

import { execFile } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { dirname, join, relative } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { request } from "./support/client.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({ workers: 0 });
});
afterAll(() => test.stop());

const SCRIPT = join(REPO, "infra", "keys.ts");
const run = async (
  args: string[],
  { env, cwd }: { env?: NodeJS.ProcessEnv; cwd?: string },
): Promise<string> =>
  (await promisify(execFile)(process.execPath, [SCRIPT, ...args], { env: { ...process.env, ...env }, cwd }))
    .stdout;
const keys = (...args: string[]): Promise<string> =>
  run([...args, "--data", test.stack.dataDir, "--json"], {});

const statusOf = async (apiKey: string): Promise<number> =>
  (await request({ url: test.url, apiKey }, "/v1/predictions")).status;

it("makes keys that work at once, lists them, and revokes them", async () => {
  const { key, id } = JSON.parse(
    await keys(
      "create",
      "alice",
      "--per-minute",
      "5",
      "--expires",
      "30",
      "--monthly",
      "images=9, gpu_seconds=60",
    ),
  ) as {
    key: string;
    id: string;
  };
  expect(key).toMatch(/^vqd_[\w-]{32}$/);
  expect(await statusOf(key)).toBe(200);
  const listed = await keys("list");
  expect(JSON.parse(listed)).toMatchObject([
    {
      id,
      name: "alice",
      perMinute: 5,
      scopes: ["create", "read", "admin"],
      quotas: { images: 9, gpu_seconds: 60 },
    },
  ]);
  expect(listed).not.toContain(key);

  // Its quotas can be changed, and taken away.
  const quotasNow = async () => (JSON.parse(await keys("list")) as { quotas?: object }[])[0]?.quotas;
  await keys("quota", id, "--monthly", "images=10");
  expect(await quotasNow()).toEqual({ images: 10 });
  await keys("quota", id);
  expect(await quotasNow()).toBeUndefined();

  const second = JSON.parse(await keys("create", "bob", "--scopes", "create")) as { key: string; id: string };
  expect(await statusOf(second.key)).toBe(403);
  await keys("revoke", second.id);
  expect(JSON.parse(await keys("list"))).toHaveLength(1);
  // A key that has been used is remembered for up to half a minute; one that has not is refused at once.
  const third = JSON.parse(await keys("create", "carol")) as { key: string; id: string };
  await keys("revoke", third.id);
  expect(await statusOf(third.key)).toBe(401);

  const log = await keys("log");
  const acts = JSON.parse(log) as { at: string; user: string; action: string; key: string; name: string }[];
  expect(acts.map(({ action, key: of, name }) => [action, of, name])).toEqual([
    ["key.created", id, "alice"],
    ["key.quota_set", id, "alice"],
    ["key.quota_set", id, "alice"],
    ["key.created", second.id, "bob"],
    ["key.revoked", second.id, "bob"],
    ["key.created", third.id, "carol"],
    ["key.revoked", third.id, "carol"],
  ]);
  for (const { at, user } of acts) {
    expect(Date.parse(at)).toBeLessThanOrEqual(Date.now());
    expect(user).not.toBe("");
  }
  for (const secret of [key, second.key, third.key]) expect(log).not.toContain(secret);
});

it.each<[string[], RegExp]>([
  [["create", "a b"], /NAME must be/],
  [["create"], /see npm run keys/],
  [
    ["create", "dave", "--monthly", "dollars=5"],
    /--monthly must be a list such as images=1000, of images, steps, gpu_seconds/,
  ],
  [["create", "dave", "--scopes", "write"], /--scopes must be a list of create, read, admin/],
  [["create", "dave", "--live", "0"], /--live must be an integer above 0/],
  [["create", "dave", "--expires", "36501"], /--expires must be at most 36500/],
  [["revoke", "zz"], /ID must be/],
  [["revoke", "0123456789ab"], /there is no key 0123456789ab/],
  [["rename", "dave"], /unknown command "rename"|see npm run keys/],
])("says what is wrong with %j", async (args, message) => {
  await expect(keys(...args)).rejects.toMatchObject({ stderr: expect.stringMatching(message) as string });
});

it("takes a relative folder for the caller's, and an empty VQD_DATA for unset", async () => {
  const { dataDir } = test.stack;
  await keys("create", "erin");
  const cwd = dirname(dataDir);
  const env = { VQD_DATA: relative(cwd, dataDir) };
  expect(await run(["list"], { env, cwd })).toMatch(/ {2}erin {2}/);
  await expect(run(["list", "--data", ""], {})).rejects.toMatchObject({ code: 2 });
  const edge = join(REPO, "edge");
  const before = readdirSync(edge);
  await run(["list"], { env: { VQD_DATA: "" } });
  expect(readdirSync(edge)).toEqual(before);
});

/** What wrangler asks Cloudflare for: the namespaces of two Workers, and the keys of one namespace. */
async function startCloudflare() {
  const asked: string[] = [];
  const key = {
    name: "frank",
    scopes: ["read"],
    createdAt: 0,
    perMinute: null,
    live: null,
    priority: "normal",
  };
  const listed = [
    { name: "key:0123456789abcdef", metadata: { ...key, expiresAt: 8.65e15 } },
    { name: "key:fedcba9876543210", metadata: { ...key, name: "grace", expiresAt: 0 } },
  ];
  const server = createServer((incoming, outgoing) => {
    const path = (incoming.url ?? "").replace("/accounts/account", "").replace(/\?.*/, "");
    asked.push(`${incoming.method} ${path}`);
    const worker = /^\/workers\/scripts\/([\w-]+)\/settings$/.exec(path)?.[1];
    const bindings = [{ type: "kv_namespace", name: "KEYS", namespace_id: `keys-of-${worker}` }];
    const isDenied = incoming.headers.authorization !== "Bearer right";
    const answer = isDenied
      ? { success: false, errors: [{ code: 10000, message: "Authentication error" }], result: null }
      : { success: true, errors: [], result: worker === undefined ? listed : { bindings } };
    outgoing.writeHead(isDenied ? 403 : 200, { "content-type": "application/json" });
    outgoing.end(JSON.stringify({ messages: [], ...answer }));
  });
  server.listen(0, "127.0.0.1");
  await once(server, "listening");
  const env = {
    CLOUDFLARE_API_BASE_URL: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    CLOUDFLARE_ACCOUNT_ID: "account",
    CLOUDFLARE_API_TOKEN: "right",
  };
  return { asked, env, [Symbol.asyncDispose]: async () => void (await once(server.close(), "close")) };
}

it("with --remote manages the keys of the Worker that is deployed", async () => {
  await using cloudflare = await startCloudflare();
  const { asked, env } = cloudflare;
  // The first one expires beyond all dates.
  expect(await run(["list", "--remote"], { env })).toBe(
    "0123456789ab  frank  read  expires never\nfedcba987654  grace  read  expires 1970-01-01\n",
  );
  await run(["create", "henry", "--remote"], { env });
  await run(["revoke", "fedcba987654", "--remote"], { env });
  const namespace = "/storage/kv/namespaces/keys-of-vqd";
  expect(asked).toContain(`GET ${namespace}/keys`);
  expect(asked).toContainEqual(expect.stringContaining(`PUT ${namespace}/values/key`));
  expect(asked).toContainEqual(expect.stringContaining(`DELETE ${namespace}/values/key`));
  // Both are noted in the namespace.
  expect(asked.filter((one) => one.startsWith(`PUT ${namespace}/values/audit`))).toHaveLength(2);
  expect(asked.filter((one) => one.includes("vqd-edge"))).toEqual([]);
});

it("says in wrangler's words why Cloudflare did not do it", async () => {
  await using cloudflare = await startCloudflare();
  const env = { ...cloudflare.env, CLOUDFLARE_API_TOKEN: "wrong" };
  await expect(run(["list", "--remote"], { env })).rejects.toMatchObject({
    code: 1,
    stderr: expect.stringMatching(/^keys: [^\n]*failed\. Authentication error \[code: 10000\]\n$/) as string,
  });
});
