// What has been hashed is not read again, unless anything about the file has changed.

import { createHash } from "node:crypto";
import { readdir, readFile, rename, truncate, utimes, writeFile } from "node:fs/promises";
import { readFileSync, statSync } from "node:fs";
import { join } from "node:path";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { DigestCache } from "../../gpu-worker/checkpoint/files/digest-cache.ts";
import { temporaryFolder } from "../support/tiny.ts";

const SIZE = 2 * 1024 * 1024;
/** Only what has been left alone for two seconds is remembered. A file's time of change cannot be set, but the clock can. */
const SETTLED_MS = 3_000;

const hash = vi.fn((path: string): string => createHash("sha256").update(readFileSync(path)).digest("hex"));
const hashed = (work: () => string): { digest: string; reads: number } => {
  const before = hash.mock.calls.length;
  const digest = work();
  return { digest, reads: hash.mock.calls.length - before };
};

let dir: string;
let caches: string;
const cache = (): DigestCache => new DigestCache(caches);
const file = (name: string): string => join(dir, name);

beforeAll(async () => {
  dir = await temporaryFolder();
  caches = await temporaryFolder();
  const names = ["steady", "rewritten", "replaced", "shorter", "damaged"];
  for (const [i, name] of names.entries()) await writeFile(file(name), Buffer.alloc(SIZE, i + 1));
  await writeFile(file("small"), "small");
  vi.useFakeTimers({ toFake: ["Date"], now: Date.now() + SETTLED_MS });
});
afterAll(() => {
  vi.useRealTimers();
});

it("reads a settled file once, and a small one each time", () => {
  const first = hashed(() => cache().digest(file("steady"), hash));
  expect(first.reads).toBe(1);
  expect(hashed(() => cache().digest(file("steady"), hash))).toEqual({ digest: first.digest, reads: 0 });
  for (let i = 0; i < 2; i++) expect(hashed(() => cache().digest(file("small"), hash)).reads).toBe(1);
});

it("reads a file again whose content was changed in place and whose times were set back", async () => {
  const path = file("rewritten");
  const { digest } = hashed(() => cache().digest(path, hash));
  const { atime, mtime } = statSync(path);
  await writeFile(path, Buffer.alloc(SIZE, 99));
  await utimes(path, atime, mtime);
  const again = hashed(() => cache().digest(path, hash));
  expect(again.reads).toBe(1);
  expect(again.digest).not.toBe(digest);
});

it("reads a file again that another has taken the place of, or that is shorter", async () => {
  for (const name of ["replaced", "shorter"]) cache().digest(file(name), hash);
  await writeFile(file("other"), Buffer.alloc(SIZE, 98));
  await rename(file("other"), file("replaced"));
  await truncate(file("shorter"), SIZE - 1);
  for (const name of ["replaced", "shorter"]) {
    expect(hashed(() => cache().digest(file(name), hash)).reads, name).toBe(1);
  }
});

it("does not remember a file that has only just changed", async () => {
  const path = file("fresh");
  await writeFile(path, Buffer.alloc(SIZE, 97));
  const settled = Date.now();
  vi.setSystemTime(statSync(path).ctime);
  for (let i = 0; i < 2; i++) expect(hashed(() => cache().digest(path, hash)).reads).toBe(1);
  vi.setSystemTime(settled);
});

it("does without a note that is damaged, and without a folder that cannot be written", async () => {
  const known = new Set(await readdir(join(caches, "digests")));
  const first = hashed(() => cache().digest(file("damaged"), hash));
  const notes = await readdir(join(caches, "digests"));
  const note = join(caches, "digests", notes.find((name) => !known.has(name)) ?? "");
  await writeFile(note, (await readFile(note, "utf8")).slice(0, 20));
  expect(hashed(() => cache().digest(file("damaged"), hash))).toEqual({ ...first, reads: 1 });
  expect(hashed(() => cache().digest(file("damaged"), hash)).reads).toBe(0);

  const blocked = new DigestCache(file("small"));
  for (let i = 0; i < 2; i++) expect(hashed(() => blocked.digest(file("damaged"), hash)).reads).toBe(1);
});
