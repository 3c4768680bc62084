// What a caller is told of an image that does not fit into a message.

import type { JetStreamClient } from "@nats-io/jetstream";
import { expect, it } from "vitest";
import { JobPublisher } from "../../gpu-worker/jobs/publisher.ts";
import type { EventBody } from "../../gpu-worker/jobs/reporter.ts";
import type { StateWriter } from "../../gpu-worker/jobs/state-writer.ts";

const publisher = new JobPublisher({
  // Nothing is sent: the message is refused before.
  js: {} as JetStreamClient,
  states: {} as StateWriter,
  subject: "vqd.events.0.a--b--000000000000.c",
  predictionId: "c",
  attempt: 1,
  numericsId: "n",
  startsBefore: 0,
  claimsBefore: 0,
  stateEvery: 1,
  onReplaced: () => {},
  maxPayload: () => 2_048,
  signal: new AbortController().signal,
});

const image = (format: "png" | "webp" | "jpeg"): EventBody => ({
  type: "output",
  index: 0,
  format,
  width: 16,
  height: 16,
  seed: 7,
});

it.each([
  ["png", "the output formats webp and jpeg are far smaller than png"],
  ["webp", "a lower quality or a smaller size takes fewer"],
  ["jpeg", "a lower quality or a smaller size takes fewer"],
] as const)("a %s file: %s", (format, remedy) => {
  expect(() => publisher.publish(image(format), new Uint8Array(2_048))).toThrow(
    expect.objectContaining({
      code: "output_too_large",
      message: expect.stringMatching(
        new RegExp(
          `^the output of 2\\d{3} bytes does not fit into a message of at most 2048 bytes; ${remedy}$`,
        ),
      ) as string,
    }),
  );
});
