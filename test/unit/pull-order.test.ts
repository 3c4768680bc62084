// The order in which queues are asked.

import { expect, it } from "vitest";
import { priorityOrder, pullOrder } from "../../gpu-worker/nats/pull-order.ts";

it("asks for the urgent first, and for the others in their turns", () => {
  const first = Array.from({ length: 64 }, (_, turn) => priorityOrder(turn)[0]);
  const count = (priority: string): number => first.filter((one) => one === priority).length;
  expect([count("high"), count("normal"), count("low")]).toEqual([48, 12, 4]);
  expect(priorityOrder(0)).toEqual(["high", "normal", "low"]);
  expect(priorityOrder(3)).toEqual(["normal", "high", "low"]);
  expect(priorityOrder(15)).toEqual(["low", "high", "normal"]);
});

it("puts priority before model, and a loaded model before others, but not for ever", () => {
  const loaded = (key: string): boolean => key === "b";
  const names = (turn: number): string[] =>
    pullOrder(["a", "b"], turn, loaded).map(({ modelKey, priority }) => `${priority} ${modelKey}`);
  expect(names(1)).toEqual(["high b", "high a", "normal b", "normal a", "low b", "low a"]);
  const firsts = Array.from({ length: 16 }, (_, turn) => pullOrder(["a", "b"], turn, loaded)[0]?.modelKey);
  expect(firsts.filter((key) => key === "a")).toHaveLength(1);
});
