// The short form of `npm run chaos`.

import { expect, it } from "vitest";
import { runChaos } from "./chaos.ts";
import { faultsOf } from "./check.ts";

const MIN_STEPS = 20;

it(
  "loses nothing, doubles nothing and changes no byte while everything dies",
  { timeout: 300_000 },
  async () => {
    const report = await runChaos({
      jobs: 12,
      minSteps: MIN_STEPS,
      workers: 2,
      accidents: ["kill", "nats", "suspend", "hub", "drain", "add"],
      limitMs: 240_000,
    });
    expect(faultsOf(report, MIN_STEPS)).toEqual([]);
    // Long jobs were interrupted for other owners', in both runs.
    expect(report.undisturbed.some(({ attempts }) => attempts > 1)).toBe(true);
    expect(new Set(report.undisturbed.flatMap(({ images }) => images)).size).toBeGreaterThan(6);
  },
);
