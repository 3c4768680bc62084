// Who may run beside whom.

import { expect, it } from "vitest";
import { JobGate } from "../../gpu-worker/jobs/gate.ts";

const forever = new AbortController().signal;

/** Lets promises that can settle do so. */
const settle = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));

it("lets jobs run side by side, and a suspect alone, in order of arrival", async () => {
  const gate = new JobGate();
  const inside: string[] = [];
  const enter = async (name: string, isAlone: boolean): Promise<() => void> => {
    const leave = await gate.enter(isAlone, forever);
    inside.push(name);
    return () => {
      inside.splice(inside.indexOf(name), 1);
      leave();
    };
  };
  const [a, b] = [await enter("a", false), await enter("b", false)];
  expect(gate.isClosing).toBe(false);
  const suspect = enter("suspect", true);
  const after = enter("after", false);
  await settle();
  expect(inside).toEqual(["a", "b"]);
  expect(gate.isClosing).toBe(true);
  a();
  await settle();
  expect(inside).toEqual(["b"]);
  b();
  const leaveSuspect = await suspect;
  await settle();
  expect(inside).toEqual(["suspect"]);
  leaveSuspect();
  const leaveAfter = await after;
  expect(inside).toEqual(["after"]);
  expect(gate.isClosing).toBe(false);
  leaveAfter();
});

it("forgets who gives up waiting", async () => {
  const gate = new JobGate();
  const leave = await gate.enter(false, forever);
  const abort = new AbortController();
  const reason = new Error("canceled");
  const suspect = gate.enter(true, abort.signal);
  const other = gate.enter(false, forever);
  abort.abort(reason);
  await expect(suspect).rejects.toBe(reason);
  (await other)();
  leave();
  await expect(gate.enter(true, abort.signal)).rejects.toBe(reason);
  (await gate.enter(true, forever))();
});
