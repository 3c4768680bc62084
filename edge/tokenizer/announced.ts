// Tokenizers that workers announce: checked when they arrive, and built.

import type { ModelManifest } from "@vqd/shared/model.ts";
import { ClassLabels } from "@vqd/shared/tokenizer/class-labels.ts";
import {
  type ClassesAnnouncement,
  classesText,
  decodeAnnouncement,
  type TokenizerAnnouncement,
  vocabularyText,
} from "@vqd/shared/tokenizer/announcement.ts";
import { type ClipTokenizer, createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import { CLIP_MERGES_SHA256 } from "@vqd/shared/tokenizer/vocabulary.ts";
import { sha256Hex } from "../util/bytes.ts";
import { CLIP_BPE, CLIP_VOCABULARY, CLIP_VOCABULARY_SIZE } from "./clip.ts";

/** A model, and the name of its tokenizer's announcement: its SHA-256, or null if it came without one. */
export type AnnouncedModel = ModelManifest & {
  readonly tokenizerId: string | null;
  /** As hubs list it: what a step of an image has taken in recent runs, null without any. */
  readonly secondsPerImageStep?: number | null;
};

/** Builds an announced tokenizer. Throws an Error or a VocabularyError that says what is wrong with it. */
export const buildTokenizer = async (announcement: Uint8Array<ArrayBuffer>): Promise<ClipTokenizer> =>
  tokenizerFrom(await decodeAnnouncement(announcement));

function tokenizerFrom(announcement: TokenizerAnnouncement | ClassesAnnouncement): ClipTokenizer {
  if ("classes" in announcement) return classReader(labelsOf(announcement));
  const { vocabulary, ...rest } = announcement;
  return vocabulary === null
    ? createClipTokenizer({ vocabulary: CLIP_VOCABULARY, ...rest }, { bpe: CLIP_BPE })
    : createClipTokenizer({ vocabulary, ...rest });
}

/** The classes of an announcement. Throws an Error if it has none, or is not one. */
export async function announcedClasses(announcement: Uint8Array<ArrayBuffer>): Promise<ClassLabels> {
  const decoded = await decodeAnnouncement(announcement);
  if ("classes" in decoded) return labelsOf(decoded);
  throw new Error("tokenizer: has no classes");
}

const labelsOf = ({ classes, names }: ClassesAnnouncement): ClassLabels =>
  new ClassLabels(classes, new Map(names));

/** Classes in place of a tokenizer: a prompt is one id, the label. Throws an UnknownClassError for what is no class. */
function classReader(labels: ClassLabels): ClipTokenizer {
  const encode = (text: string): number[] => [labels.find(text)];
  return { encode, encodePadded: (text) => ({ ids: encode(text), tokenCount: 1, truncated: false }) };
}

/** Whether a model needs no announcement: it takes no prompt, or is of a worker of a release that announces no tokenizers. */
export const needsNoTokenizer = ({ conditioning, tokenizer }: ModelManifest): boolean =>
  conditioning === "none" ||
  (tokenizer.mergesSha256 === CLIP_MERGES_SHA256 && tokenizer.padTokenId < CLIP_VOCABULARY_SIZE);

/** Checks that a tokenizer can be built, and that its vocabulary is the manifest's. Throws as `buildTokenizer` does. */
export async function checkTokenizer(
  manifest: ModelManifest,
  announcement: Uint8Array<ArrayBuffer>,
): Promise<void> {
  if (announcement.length === 0) {
    if (!needsNoTokenizer(manifest))
      throw new Error("tokenizer: has another vocabulary than CLIP's, but does not announce it");
    return;
  }
  if (manifest.conditioning === "none")
    throw new Error("tokenizer: is announced, but the model takes no prompt");
  const decoded = await decodeAnnouncement(announcement);
  const isOfClasses = "classes" in decoded;
  if (isOfClasses !== (manifest.conditioning === "class")) {
    throw new Error(`tokenizer: ${isOfClasses ? "has" : "lacks"} classes, unlike the manifest`);
  }
  const found = await hashOf(decoded);
  if (found !== manifest.tokenizer.mergesSha256) {
    throw new Error(
      `tokenizer: its vocabulary has the hash ${found}, the manifest says ${manifest.tokenizer.mergesSha256}`,
    );
  }
  const tokenizer = tokenizerFrom(decoded);
  // Added tokens are compiled at the first use.
  tokenizer.encode(isOfClasses ? "0" : "a");
}

/** Of the vocabulary or the classes. */
async function hashOf(announcement: TokenizerAnnouncement | ClassesAnnouncement): Promise<string> {
  if ("classes" in announcement) return sha256Hex(classesText(labelsOf(announcement)));
  const { vocabulary } = announcement;
  return vocabulary === null ? CLIP_MERGES_SHA256 : sha256Hex(vocabularyText(vocabulary));
}
