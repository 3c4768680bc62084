// Fairness in an isolate: whose request is in the works, whose waits, and what is refused without another look.

import { VqdError } from "@vqd/shared/errors.ts";
import { afterEach, beforeEach, describe, expect, it, vi } from "vitest";
import { OwnerTurns } from "../../edge/fairness/owner-turns.ts";
import { Refusals } from "../../edge/fairness/refusals.ts";

beforeEach(() => void vi.useFakeTimers());
afterEach(() => void vi.useRealTimers());

describe("turns of owners", () => {
  /** Takes turns, and notes who has begun. */
  function taking() {
    const turns = new OwnerTurns();
    const begun: string[] = [];
    const take = (owner: string, name = owner): Promise<() => void> =>
      turns.take(owner).then((leave) => {
        begun.push(name);
        return leave;
      });
    return { begun, take };
  }

  it("are not limited to one while an owner is alone", async () => {
    const { begun, take } = taking();
    await Promise.all(Array.from({ length: 32 }, () => take("a")));
    const further = take("a", "further");
    await vi.advanceTimersByTimeAsync(4);
    expect(begun).toHaveLength(32);
    // Those have not ended, but take so long that they must be waiting for something.
    await vi.advanceTimersByTimeAsync(500);
    await further;
  });

  it("are one at a time, in order, while there are others", async () => {
    const { begun, take } = taking();
    const leaveOther = await take("other");
    const names = ["a1", "a2", "a3"];
    const leaving = names.map((name) => take("a", name));
    await vi.advanceTimersByTimeAsync(50);
    expect(begun).toEqual(["other", "a1"]);
    (await leaving[0])?.();
    await vi.advanceTimersByTimeAsync(60);
    expect(begun).toEqual(["other", "a1", "a2"]);
    // Another owner is not held up by them.
    leaveOther();
    await take("other", "other again");
    expect(begun.at(-1)).toBe("other again");
    (await leaving[1])?.();
    await vi.advanceTimersByTimeAsync(100);
    expect(begun.at(-1)).toBe("a3");
  });

  it("take no more than half of the time while there are others", async () => {
    const { begun, take } = taking();
    await take("other");
    const leave = await take("a", "a1");
    void take("a", "a2");
    await vi.advanceTimersByTimeAsync(100);
    leave();
    await vi.advanceTimersByTimeAsync(90);
    expect(begun).toEqual(["other", "a1"]);
    await vi.advanceTimersByTimeAsync(20);
    expect(begun).toEqual(["other", "a1", "a2"]);
  });

  it("end by themselves where a request ends without a word", async () => {
    const { begun, take } = taking();
    await take("other");
    await take("a", "vanished");
    void take("a", "next");
    await vi.advanceTimersByTimeAsync(200);
    expect(begun).toEqual(["other", "vanished"]);
    await vi.advanceTimersByTimeAsync(100);
    expect(begun).toEqual(["other", "vanished", "next"]);
  });

  it("are refused when too many of an owner's requests wait, and of that owner only", async () => {
    const { take } = taking();
    await take("other");
    await take("a");
    for (let i = 0; i < 256; i++) void take("a");
    const refused = { code: "rate_limited", retryable: true, retryAfterSeconds: 1 };
    const further = take("a").catch((error: unknown) => error);
    await vi.advanceTimersByTimeAsync(1_000);
    expect(await further).toMatchObject(refused);
    // The third owner's turn begins at once.
    await take("b");
  });
});

describe("refusals", () => {
  const refusal = (code: "rate_limited" | "too_many_live" | "not_found", seconds = 3): VqdError =>
    new VqdError(code, "refused", { retryAfterSeconds: seconds });
  /** What became of a question after `ms`. */
  async function after(ms: number, asking: Promise<void>): Promise<string> {
    let outcome = "waits";
    void asking.then(
      () => (outcome = "goes on"),
      (error: unknown) => (outcome = `refused: ${(error as VqdError).code}`),
    );
    await vi.advanceTimersByTimeAsync(ms);
    return outcome;
  }

  it("hold until their Retry-After, and are repeated after a second", async () => {
    const refusals = new Refusals();
    refusals.note("a POST", refusal("rate_limited"));
    const again = refusals.check("a POST");
    expect(await after(999, again)).toBe("waits");
    expect(await after(1, again)).toBe("refused: rate_limited");
    expect(await after(0, refusals.check("a GET"))).toBe("goes on");
    expect(await after(0, refusals.check("b POST"))).toBe("goes on");
    await vi.advanceTimersByTimeAsync(2_000);
    expect(await after(0, refusals.check("a POST"))).toBe("goes on");
  });

  it("that may end at any moment only delay the next question", async () => {
    const refusals = new Refusals();
    refusals.note("a POST", refusal("too_many_live"));
    expect(await after(249, refusals.check("a POST"))).toBe("waits");
    expect(await after(250, refusals.check("a POST"))).toBe("goes on");
  });

  it("are not remembered for what is no limit", async () => {
    const refusals = new Refusals();
    refusals.note("a GET", refusal("not_found"));
    refusals.note("a GET", new Error("internal"));
    expect(await after(0, refusals.check("a GET"))).toBe("goes on");
  });
});
