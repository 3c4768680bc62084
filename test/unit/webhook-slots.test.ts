// Who may send the next webhook, and how long a receiver may take.

import { describe, expect, it } from "vitest";
import { SendingSlots } from "../../edge/hub/webhooks/sending-slots.ts";
import { ReceiverTimeLimits } from "../../edge/hub/webhooks/time-limits.ts";

/** Takes a slot for the owner, at a host of its own unless one is given, for as long as it is admitted; gives how many. */
function fill(slots: SendingSlots, owner: string, host?: string): number {
  for (let taken = 0; ; taken++) {
    const name = host ?? `${taken}.${owner}`;
    if (!slots.admitted([owner]).includes(owner) || slots.fullHosts(owner).includes(name)) return taken;
    const id = `${owner} ${name} ${taken}`;
    slots.take({ id, owner, host: name, predictionId: id });
  }
}

describe("slots for webhooks", () => {
  it("are shared between owners, and one that is freed goes to an owner that has none", () => {
    const slots = new SendingSlots();
    const taken = ["a", "b", "c", "d", "e", "f", "g"].map((owner) => fill(slots, owner));
    expect(taken).toEqual([16, 8, 4, 2, 1, 1, 0]);
    slots.free("a 0.a 0");
    expect(slots.admitted(["a", "g"])).toEqual(["g"]);
  });

  it("at one host are shared in the same way", () => {
    const slots = new SendingSlots();
    expect(["a", "b", "c"].map((owner) => fill(slots, owner, "one"))).toEqual([4, 2, 1]);
    expect(slots.fullHosts("a")).toEqual(["one"]);
    expect(slots.fullHosts("d")).toEqual([]);
  });

  it("go first to the owner that is sending the fewest", () => {
    const slots = new SendingSlots();
    fill(slots, "busy", "one");
    expect(slots.admitted(["busy", "idle"])).toEqual(["idle", "busy"]);
  });
});

describe("the time that a receiver has", () => {
  it("is shorter after it has hung, until it responds or time has passed", () => {
    const limits = new ReceiverTimeLimits();
    const now = 1_000_000;
    const limit = (owner = "a", at = now): number => limits.limitMs(owner, "host", at);
    const hang = (): void => limits.note("a", "host", true, now);
    expect(limit()).toBe(15_000);
    hang();
    expect(limit()).toBe(5_000);
    hang();
    hang();
    expect(limit()).toBe(2_000);
    expect(limit("b")).toBe(15_000);
    expect(limit("a", now + 10 * 60_000 + 1)).toBe(15_000);
    limits.note("a", "host", false, now);
    expect(limit()).toBe(15_000);
  });
});
