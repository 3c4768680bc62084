// How far a hub is in the events stream, and how near to its oldest message.

import { describe, expect, it } from "vitest";
import { distanceOf, EventsPosition } from "../../edge/hub/nats/position.ts";

describe("the position", () => {
  it("is that of the oldest message that has not been applied, in whatever order they are", () => {
    const position = new EventsPosition();
    position.started(0);
    expect(position.behindSince).toBeNull();
    position.received(7, 1_000, 2);
    position.received(8, 2_000, 1);
    position.received(12, 3_000, 0);
    position.applied(8);
    expect(position.behindSince).toBe(1_000);
    position.applied(7);
    expect(position.behindSince).toBe(3_000);
    position.applied(12);
    expect(position.behindSince).toBeNull();
  });

  it("waits for messages that the server holds back", () => {
    const position = new EventsPosition();
    position.received(7, 1_000, 5);
    position.applied(7);
    expect(position.behindSince).toBe(1_000);
  });

  it("stays where it is while nothing is delivered, until something is or nothing waits", () => {
    const position = new EventsPosition();
    position.stopped(500);
    expect(position.behindSince).toBe(500);
    position.stopped(900);
    expect(position.behindSince).toBe(500);
    position.started(3);
    expect(position.behindSince).toBe(500);
    position.received(7, 1_000, 2);
    expect(position.behindSince).toBe(1_000);
    position.stopped(2_000);
    expect(position.behindSince).toBe(1_000);
    position.started(0);
    expect(position.behindSince).toBeNull();
  });
});

describe("the distance from the oldest message", () => {
  const end = { firstSequence: 101, lastSequence: 600, messages: 500, ageMs: 60_000 };
  const now = 1_000_000;

  it.each([
    ["of a hub that has applied everything is the whole stream", null, 300, 0, 60, 500],
    ["of one that is behind is what is left", now - 45_000, 200, 45, 15, 100],
    ["is below zero once messages are gone", now - 70_000, 90, 70, -10, -11 + 1],
  ])("%s", (_, since, sequence, behindSeconds, headroomSeconds, headroomMessages) => {
    expect(distanceOf(since, sequence, end, now)).toEqual({
      behindSeconds,
      headroomSeconds,
      headroomMessages,
    });
  });

  it("is unknown where there is none", () => {
    const unknown = { behindSeconds: 2, headroomSeconds: undefined, headroomMessages: undefined };
    expect(distanceOf(now - 2_000, 1, undefined, now)).toEqual(unknown);
    expect(distanceOf(now - 2_000, 1, { ...end, messages: 0 }, now)).toEqual(unknown);
  });
});
