// What is announced of a tokenizer, which must be what edges accept.

import { gzipSync } from "node:zlib";
import {
  announcementJson,
  classesJson,
  MAX_TOKENIZER_BYTES,
  MAX_TOKENIZER_JSON_BYTES,
  parseAnnouncement,
} from "@vqd/shared/tokenizer/announcement.ts";
import type { ClassLabels } from "@vqd/shared/tokenizer/class-labels.ts";
import type { TokenizerTables } from "@vqd/shared/tokenizer/clip.ts";
import { CheckpointError } from "../errors.ts";

/** `path` is the vocabulary's file. Throws a CheckpointError if edges would refuse it. */
export function announce(tables: TokenizerTables, isClip: boolean, path: string): Uint8Array {
  return packed(announcementJson(tables, isClip), path);
}

/** The same for the classes of a model that is conditioned by class. */
export const announceClasses = (labels: ClassLabels, path: string): Uint8Array =>
  packed(classesJson(labels), path);

function packed(json: string, path: string): Uint8Array {
  const refuse = (reason: string, remedy = "use a smaller vocabulary"): never => {
    throw new CheckpointError(path, reason, { remedy });
  };
  const length = Buffer.byteLength(json);
  if (length > MAX_TOKENIZER_JSON_BYTES) {
    refuse(`the tokenizer takes ${length} bytes as JSON; the limit is ${MAX_TOKENIZER_JSON_BYTES}`);
  }
  const announcement = gzipSync(json);
  if (announcement.length > MAX_TOKENIZER_BYTES) {
    refuse(
      `the tokenizer takes ${announcement.length} bytes when compressed; the limit is ${MAX_TOKENIZER_BYTES}`,
    );
  }
  try {
    parseAnnouncement(json);
  } catch (error) {
    refuse(error instanceof Error ? error.message : String(error), "correct it");
  }
  return announcement;
}
