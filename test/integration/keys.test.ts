// `npm run keys` beside a running stack.

import { execFile } from "node:child_process";
import { join } from "node:path";
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

const keys = async (...args: string[]): Promise<string> => {
  const script = join(REPO, "infra", "keys.ts");
  const all = [script, ...args, "--data", test.stack.dataDir, "--json"];
  return (await promisify(execFile)(process.execPath, all)).stdout;
};

const statusOf = async (apiKey: string): Promise<number> =>
  (await request({ url: test.url, apiKey }, "/v1/predictions")).status;

it("makes keys that work at once, lists them, and revokes them", async () => {
  const { key, id } = JSON.parse(await keys("create", "alice", "--per-minute", "5", "--expires", "30")) as {
    key: string;
    id: string;
  };
  expect(key).toMatch(/^vqd_[\w-]{32}$/);
  expect(await statusOf(key)).toBe(200);
  const listed = await keys("list");
  expect(JSON.parse(listed)).toMatchObject([
    { id, name: "alice", perMinute: 5, scopes: ["create", "read", "admin"] },
  ]);
  expect(listed).not.toContain(key);

  const second = JSON.parse(await keys("create", "bob", "--scopes", "create")) as { key: string; id: string };
  expect(await statusOf(second.key)).toBe(403);
  await keys("revoke", second.id);
  expect(JSON.parse(await keys("list"))).toHaveLength(1);
  // A key that has been used is remembered for up to half a minute; one that has not is refused at once.
  const third = JSON.parse(await keys("create", "carol")) as { key: string; id: string };
  await keys("revoke", third.id);
  expect(await statusOf(third.key)).toBe(401);
});

it.each<[string[], RegExp]>([
  [["create", "a b"], /NAME must be/],
  [["create"], /see npm run keys/],
  [["create", "dave", "--scopes", "write"], /--scopes must be a list of create, read, admin/],
  [["create", "dave", "--live", "0"], /--live must be an integer above 0/],
  [["revoke", "zz"], /ID must be/],
  [["revoke", "0123456789ab"], /there is no key 0123456789ab/],
  [["rename", "dave"], /unknown command "rename"|see npm run keys/],
])("says what is wrong with %j", async (args, message) => {
  await expect(keys(...args)).rejects.toMatchObject({ stderr: expect.stringMatching(message) as string });
});
