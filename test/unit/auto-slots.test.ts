// VQD_SLOTS=auto on simulated devices.

import { expect, it } from "vitest";
import { chooseSlots, type PassTimer, slotsThatFit } from "../../gpu-worker/serving/auto-slots.ts";

/** A device that takes `launchMs` for a pass of any size or `imageMs` for each image, whichever is longer, and has room for so many. */
const device = ({ launchMs = 0, imageMs = 0, room = Infinity }): PassTimer & { passes: number[] } => {
  const passes: number[] = [];
  return {
    passes,
    time(images) {
      passes.push(images);
      if (images > room) return Promise.reject(new Error("out of memory"));
      return Promise.resolve(Math.max(launchMs, images * imageMs));
    },
  };
};

it("gives a device that computes all the time one image: more only wait for each other", async () => {
  const choice = await chooseSlots(device({ imageMs: 50, launchMs: 5 }));
  expect(choice).toEqual({
    slots: 1,
    largest: 2,
    times: [
      { images: 1, ms: 50 },
      { images: 2, ms: 100 },
    ],
  });
});

it("gives a device that waits for launches as many as cost nothing", async () => {
  // 16 images take as long as one; 32 twice as long.
  const choice = await chooseSlots(device({ launchMs: 16, imageMs: 1 }));
  expect(choice.slots).toBe(16);
  expect(choice.times.at(-1)).toEqual({ images: 32, ms: 32 });
  expect((await chooseSlots(device({ launchMs: 1_000, imageMs: 1 }))).slots).toBe(64);
});

it("gives a device with little memory what fits", async () => {
  const choice = await chooseSlots(device({ launchMs: 16, imageMs: 1, room: 5 }));
  expect(choice).toMatchObject({ slots: 4, largest: 4 });
  expect(choice.times.at(-1)).toEqual({ images: 8, ms: null });
});

it("takes the fastest of several passes, after one that does not count", async () => {
  const slow = [900, 70, 40, 60];
  const timer: PassTimer = { time: (images) => Promise.resolve(images === 1 ? (slow.shift() ?? 40) : 80) };
  expect((await chooseSlots(timer)).times[0]).toEqual({ images: 1, ms: 40 });
});

it("rejects when not even one image can be computed", async () => {
  await expect(chooseSlots(device({ room: 0 }))).rejects.toThrow("out of memory");
});

it("tries no more images than the device has memory for, where that is known", async () => {
  const gib = 2 ** 30;
  const needs = { weightBytes: 2 * gib, passBytesPerRow: gib };
  expect(slotsThatFit({ memoryBytes: 12 * gib, ...needs })).toBe(5);
  expect(slotsThatFit({ memoryBytes: gib, ...needs })).toBe(1);
  expect(slotsThatFit({ memoryBytes: 1_000 * gib, ...needs })).toBe(64);
  expect(slotsThatFit({ memoryBytes: undefined, ...needs })).toBe(64);
  const simulated = device({ launchMs: 16, imageMs: 1 });
  expect(await chooseSlots(simulated, 5)).toMatchObject({ slots: 4, largest: 4 });
  expect(Math.max(...simulated.passes)).toBe(4);
});
