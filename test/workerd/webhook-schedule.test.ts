// Signatures by the standard's own numbers, and what follows from a receiver's answer.

import { describe, expect, it } from "vitest";
import { nextStep, parseRetryAfter } from "../../edge/hub/webhooks/schedule.ts";
import { newWebhookSecret, webhookSignature } from "../../edge/hub/webhooks/sign.ts";

describe("the signature", () => {
  // The vector of the standard's authors.
  const secret = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw";
  const message = {
    id: "msg_p5jXN8AQM9LWM0D4loKWxJek",
    timestamp: 1_614_265_330,
    body: '{"test": 2432232314}',
  };
  const expected = "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=";

  it("is as the standard defines it", async () => {
    expect(await webhookSignature([secret], message)).toBe(expected);
  });

  it("is one per secret during a rotation", async () => {
    const other = newWebhookSecret();
    expect(other).toMatch(/^whsec_[A-Za-z0-9+/]{43}=$/);
    const both = (await webhookSignature([other, secret], message)).split(" ");
    expect(both).toHaveLength(2);
    expect(both[1]).toBe(expected);
  });
});

describe("after an attempt", () => {
  const now = 1_000_000;
  const delaysMs = [0, 5_000, 300_000];
  const after = (status: number | null, tries = 1, retryAfterMs: number | null = null) =>
    nextStep({ status, error: null, retryAfterMs }, { tries, delaysMs, now, random: 0.5 });

  it.each([200, 204, 299])("%d means delivered", (status) => {
    expect(after(status)).toEqual({ state: "delivered" });
  });

  it.each([null, 301, 307, 400, 404, 429, 500, 503])("%s is retried", (status) => {
    expect(after(status)).toEqual({ retryAt: now + 5_250 });
    expect(after(status, 2)).toEqual({ retryAt: now + 315_000 });
    expect(after(status, 3)).toEqual({ state: "failed" });
  });

  it("410 means no more webhooks", () => {
    expect(after(410)).toEqual({ state: "disabled" });
  });

  it("Retry-After is respected, within reason", () => {
    expect(after(503, 1, 60_000)).toEqual({ retryAt: now + 60_000 });
    expect(after(503, 1, 1_000)).toEqual({ retryAt: now + 5_250 });
    expect(after(503, 1, 1e12)).toEqual({ retryAt: now + 86_400_000 });
  });

  it.each<[string | null, number | null]>([
    [null, null],
    ["120", 120_000],
    ["soon", null],
    ["-5", null],
    [new Date(5_000_000).toUTCString(), 4_000_000],
    [new Date(0).toUTCString(), 0],
  ])("Retry-After %j is %j ms", (header, expected) => {
    expect(parseRetryAfter(header, now)).toBe(expected);
  });
});
