// `node part.ts JSON`: one part of gpu-check; sends what it finds to the process that started it.

import { type PartMessage, send } from "./part-process.ts";
import { partsFor, type PartSettings } from "./parts.ts";
import { OutOfTimeError, TimeLeft } from "./time-left.ts";

export interface PartArgument extends PartSettings {
  readonly name: string;
  readonly seconds: number;
}

/** Before the time is over for good, what has been found is sent. */
const RESERVE_SECONDS = 2;

const { name, seconds, ...settings } = JSON.parse(process.argv[2] ?? "") as PartArgument;

async function work(): Promise<PartMessage> {
  const part = partsFor(settings).find((one) => one.name === name);
  if (part === undefined) throw new Error(`there is no part ${name}`);
  const time = new TimeLeft(seconds - RESERVE_SECONDS);
  const onPartial = (value: object): void => void send({ type: "partial", value });
  return { type: "done", value: await part.run({ ...settings, time, onPartial }) };
}

function messageOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message}: ${error.cause.message}` : error.message;
}

await send(
  await work().catch((error: unknown): PartMessage => ({
    type: error instanceof OutOfTimeError ? "out of time" : "failed",
    message: messageOf(error),
  })),
);
// A provider's threads may still run.
process.exit(0);
