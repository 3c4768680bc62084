// What the published shapes need before the device can be timed with them: minutes of a CPU, in which the device is not to wait.

import { availableParallelism } from "node:os";
import { join } from "node:path";
import type { Device } from "./checks.ts";
import { type PartResult, runPart } from "./part-process.ts";
import type { PrepareArgument } from "./prepare.ts";
import { lackOfRoom, type Shape } from "./shapes.ts";
import type { TimeLeft } from "./time-left.ts";

/** On fewer cores the preparation would disturb what is timed beside it. */
const LEAST_CORES = 4;
const LIMIT_SECONDS = 240;

export class Preparation {
  readonly #lacks = new Map<string, string>();
  readonly #argument: PrepareArgument;
  readonly #time: TimeLeft;
  #result: Promise<PartResult> | undefined;

  constructor(shapes: readonly Shape[], { provider, cacheDir }: Device, time: TimeLeft) {
    this.#time = time;
    for (const shape of shapes) {
      const lack = lackOfRoom(shape, provider, cacheDir);
      if (lack !== undefined) this.#lacks.set(nameOf(shape.layers), lack);
    }
    const layers = shapes.map((shape) => shape.layers).filter((count) => !this.#lacks.has(nameOf(count)));
    this.#argument = { provider, cacheDir, layers };
    if (availableParallelism() >= LEAST_CORES) void this.#start();
  }

  /** Waits until the part can begin; resolves to its result if it cannot. */
  async lackFor(name: string): Promise<PartResult | undefined> {
    const lack = this.#lacks.get(name);
    if (lack !== undefined) return { status: "failed", reason: lack, value: {} };
    const layers = this.#argument.layers.find((count) => nameOf(count) === name);
    if (layers === undefined) return undefined;
    const { value, ...ended } = await this.#start();
    return String(layers) in value ? undefined : { ...ended, value: {} };
  }

  #start(): Promise<PartResult> {
    const script = join(import.meta.dirname, "prepare.ts");
    this.#result ??=
      this.#argument.layers.length === 0
        ? Promise.resolve({ status: "done", reason: undefined, value: {} })
        : runPart(script, this.#argument, Math.min(LIMIT_SECONDS, this.#time.secondsLeft()));
    return this.#result;
  }
}

const nameOf = (layers: number): string => `shape${layers}`;
