// The words that a checkpoint's model knows, from its vocabulary.txt: one a line, as infra/train writes them.

import { MAX_WORDS_CHARS, WORDS_PATTERN } from "@vqd/shared/model.ts";
import { CheckpointError } from "./errors.ts";
import type { CheckpointFolder } from "./files/folder.ts";

const FILE = "vocabulary.txt";

/** With a space between them; undefined if the checkpoint does not say. Throws a CheckpointError if the file is something else. */
export function readKnownWords(folder: CheckpointFolder): string | undefined {
  if (!folder.has(FILE)) return undefined;
  // A character takes up to four bytes.
  const words = folder
    .text(FILE, 4 * MAX_WORDS_CHARS)
    .split(/\r?\n/)
    .filter((word) => word !== "")
    .join(" ");
  if (words.length <= MAX_WORDS_CHARS && WORDS_PATTERN.test(words)) return words;
  throw new CheckpointError(folder.path(FILE), "is not a list of words in lower case, one a line", {
    remedy: "correct it, or delete it if it is something else",
  });
}
