// Which functions overlap under a lock of groups.

import { setImmediate as nextTurn } from "node:timers/promises";
import { expect, it } from "vitest";
import { GroupLock } from "../../gpu-worker/util/group-lock.ts";

/** Work that ends when it is told to, and what has begun. */
function workOf(lock: GroupLock) {
  const begun: string[] = [];
  const ends = new Map<string, PromiseWithResolvers<void>>();
  return {
    begun,
    start(name: string, group: object): Promise<void> {
      const end = Promise.withResolvers<void>();
      ends.set(name, end);
      return lock.run(group, () => {
        begun.push(name);
        return end.promise;
      });
    },
    async end(name: string): Promise<void> {
      ends.get(name)?.resolve();
      await nextTurn();
    },
    async fail(name: string): Promise<void> {
      ends.get(name)?.reject(new Error(name));
      await nextTurn();
    },
  };
}

it("lets work of one group overlap, and starts it at once", async () => {
  const work = workOf(new GroupLock());
  const group = {};
  const both = [work.start("a", group), work.start("b", group)];
  expect(work.begun).toEqual(["a", "b"]);
  await work.end("b");
  await work.end("a");
  await Promise.all(both);
});

it("lets nobody in before another group that waits", async () => {
  const work = workOf(new GroupLock());
  const [one, two] = [{}, {}];
  const all = [work.start("a", one), work.start("b", two), work.start("c", one), work.start("d", one)];
  expect(work.begun).toEqual(["a"]);
  await work.end("a");
  expect(work.begun).toEqual(["a", "b"]);
  await work.end("b");
  expect(work.begun).toEqual(["a", "b", "c", "d"]);
  await work.end("c");
  await work.end("d");
  await Promise.all(all);
});

it("passes a failure on, and goes on with the next", async () => {
  const work = workOf(new GroupLock());
  const failing = expect(work.start("a", {})).rejects.toThrow("a");
  const next = work.start("b", {});
  await work.fail("a");
  await failing;
  expect(work.begun).toEqual(["a", "b"]);
  await work.end("b");
  await next;
});
