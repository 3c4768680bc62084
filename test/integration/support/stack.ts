// The whole system for one test file: on free ports, with a folder of its own, its log kept.

import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { LogLine } from "../../../infra/stack/log.ts";
import { REPO } from "../../../infra/stack/paths.ts";
import type { StackOptions } from "../../../infra/stack/prepare.ts";
import { type Stack, startStack } from "../../../infra/stack/stack.ts";
import { writeShortModel } from "./short-model.ts";

/** Checkpoint of the fixtures: random weights, 16 x 16 pixels, quick. */
export const TINY_MODEL = join(REPO, "test", "fixtures", "tiny", "checkpoint");

export interface TestStack {
  readonly stack: Stack;
  readonly url: string;
  readonly apiKey: string;
  /** Graphs built from weights, shared by all test stacks: the first builds them. */
  readonly cacheDir: string;
  readonly lines: readonly LogLine[];
  /** Number, from 1, of the worker that logged the start of the prediction's newest attempt. */
  workerOf(predictionId: string): number;
  readonly stop: () => Promise<void>;
}

const cacheDir = join(REPO, ".vqd", "cache");

/** With `shortModel` the workers serve the bundled model with few layers, which is that of the name `vqd/short`. */
export async function startTestStack({
  shortModel = false,
  ...options
}: StackOptions & { shortModel?: boolean }): Promise<TestStack> {
  const data = await mkdtemp(join(tmpdir(), "vqd-stack-"));
  const lines: LogLine[] = [];
  const stack = await startStack({
    ...options,
    ...(shortModel ? { model: writeShortModel(data) } : {}),
    data,
    workerEnv: { VQD_CACHE: cacheDir, ...options.workerEnv },
    log: (line) => lines.push(line),
  });
  return {
    stack,
    url: stack.url,
    apiKey: stack.apiKey,
    cacheDir,
    lines,
    workerOf(predictionId) {
      const line = lines.findLast(
        ({ text }) => text.startsWith("job started") && text.includes(predictionId),
      );
      if (line === undefined) throw new Error(`no worker started ${predictionId}`);
      return Number(line.source.replace("worker ", ""));
    },
    async stop() {
      await stack.stop();
      await rm(data, { recursive: true, force: true });
    },
  };
}
