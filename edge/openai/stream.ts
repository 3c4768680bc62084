// OpenAI's event stream of an image generation: partial images, then the completed ones, or an error.

import { VqdError } from "@vqd/shared/errors.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { OutputFile, PredictionRecord } from "../prediction/records.ts";
import { openaiError } from "./errors.ts";
import type { Hubs } from "../service/hubs.ts";
import { getRecord, nextEvents } from "../service/wait.ts";
import { failureOf } from "../service/outcome.ts";
import { commonFields, type ImageJob, imageContent, usage } from "./answer.ts";

const KEEP_ALIVE_MS = 15_000;
const TYPES = ["preview", "output", "done"] as const;

export interface ImageStreamOptions {
  readonly hubs: Hubs;
  readonly job: ImageJob;
  readonly record: PredictionRecord;
  readonly keyName: string;
  readonly log: Logger;
  /** Runs work in a turn of the key's owner. */
  readonly inTurn: <T>(work: () => Promise<T>) => Promise<T>;
  /** Called if the client disconnects before the end. */
  readonly onDisconnect: () => void;
}

function frame(type: string, data: object): string {
  return `event: ${type}\ndata: ${JSON.stringify({ type, ...data })}\n\n`;
}

async function* frames({ hubs, job, record, keyName, inTurn }: ImageStreamOptions): AsyncGenerator<string> {
  const kind = job.isEdit ? "image_edit" : "image_generation";
  const common = { ...commonFields(job), created_at: Math.floor(record.createdAt / 1_000) };
  let after = 0;
  for (let continues = false; ; continues = true) {
    const reader = { id: record.id, keyName, after, types: TYPES };
    const events = await nextEvents(hubs, reader, { timeoutMs: KEEP_ALIVE_MS, continues });
    // A comment line keeps proxies from closing the stream while the prediction is queued.
    if (events.length === 0) yield ": keep-alive\n\n";
    for (const { seq, type, data } of events) {
      after = seq;
      if (type === "done") {
        const ended = await getRecord(hubs, record.id, keyName);
        if (ended.status !== "succeeded") throw failureOf(ended, job.hasKey);
        return;
      }
      const { index, name, preview } = JSON.parse(data) as OutputFile & { preview?: number };
      const image = {
        ...common,
        ...(await inTurn(() => imageContent(job, record.fileCapability, name))),
      };
      if (type === "preview") {
        const place = { partial_image_index: preview, image_index: index };
        yield frame(`${kind}.partial_image`, Object.assign(image, place));
      } else {
        // The prompt counts once, regardless of the number of images.
        const cost = usage(job, 1, index === 0 ? { textTokens: record.promptTokens } : undefined);
        yield frame(`${kind}.completed`, Object.assign(image, { image_index: index, usage: cost }));
      }
    }
  }
}

/** Frames are generated as they are read, so a slow reader costs no memory. */
export function imageStream(options: ImageStreamOptions): ReadableStream<Uint8Array> {
  const encoder = new TextEncoder();
  const source = frames(options);
  return new ReadableStream(
    {
      async pull(controller): Promise<void> {
        try {
          const { done, value } = await source.next();
          if (done === true) controller.close();
          else controller.enqueue(encoder.encode(value));
        } catch (thrown) {
          // The status has already been sent, so the error must be an event, in the form that clients throw.
          const isExpected = thrown instanceof VqdError;
          const error = isExpected ? thrown : new VqdError("internal", "something went wrong");
          options.log.warn("image stream failed", { prediction: options.record.id, ...errorFields(thrown) });
          controller.enqueue(encoder.encode(frame("error", { error: openaiError(error) })));
          controller.close();
        }
      },
      cancel(): void {
        options.onDisconnect();
      },
    },
    { highWaterMark: 0 },
  );
}
