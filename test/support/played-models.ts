// The models that tests in workerd announce: their worker may serve these.

/** By the first characters of their versions. */
export const PLAYED_MODELS = {
  played: { name: "vqd/played", version: "ab".repeat(32) },
  bare: { name: "vqd/bare", version: "ba".repeat(32) },
  late: { name: "vqd/late", version: "cd".repeat(32) },
  unguided: { name: "vqd/unguided", version: "dc".repeat(32) },
  foreign: { name: "vqd/foreign", version: "ef".repeat(32) },
  other: { name: "vqd/other", version: "0c".repeat(32) },
  otherLater: { name: "vqd/other", version: "0d".repeat(32) },
  otherLast: { name: "vqd/other", version: "0e".repeat(32) },
  own: { name: "vqd/own", version: "1a".repeat(32) },
  ownToo: { name: "vqd/own-too", version: "1b".repeat(32) },
  inverted: { name: "vqd/inverted", version: "1c".repeat(32) },
  refused: { name: "vqd/refused", version: "1d".repeat(32) },
  classes: { name: "vqd/classes", version: "1f".repeat(32) },
  unconditional: { name: "vqd/unconditional", version: "2a".repeat(32) },
  hostile: { name: "vqd/hostile", version: "1e".repeat(32) },
} as const;
