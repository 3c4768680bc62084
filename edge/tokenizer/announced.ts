// Tokenizers that workers announce: checked when they arrive, and built.

import type { ModelManifest } from "@vqd/shared/model.ts";
import {
  decodeAnnouncement,
  type TokenizerAnnouncement,
  vocabularyText,
} from "@vqd/shared/tokenizer/announcement.ts";
import { type ClipTokenizer, createClipTokenizer } from "@vqd/shared/tokenizer/clip.ts";
import { CLIP_MERGES_SHA256 } from "@vqd/shared/tokenizer/vocabulary.ts";
import { sha256Hex } from "../util/bytes.ts";
import { CLIP_BPE, CLIP_VOCABULARY, CLIP_VOCABULARY_SIZE } from "./clip.ts";

/** A model, and the name of its tokenizer's announcement: its SHA-256, or null if it came without one. */
export type AnnouncedModel = ModelManifest & { readonly tokenizerId: string | null };

/** Builds an announced tokenizer. Throws an Error or a VocabularyError that says what is wrong with it. */
export const buildTokenizer = async (announcement: Uint8Array<ArrayBuffer>): Promise<ClipTokenizer> =>
  tokenizerFrom(await decodeAnnouncement(announcement));

function tokenizerFrom({ vocabulary, ...rest }: TokenizerAnnouncement): ClipTokenizer {
  return vocabulary === null
    ? createClipTokenizer({ vocabulary: CLIP_VOCABULARY, ...rest }, { bpe: CLIP_BPE })
    : createClipTokenizer({ vocabulary, ...rest });
}

/** Whether CLIP's own tokenizer is the model's, for workers of releases that do not announce tokenizers. */
export const usesClip = ({ tokenizer: { mergesSha256, padTokenId } }: ModelManifest): boolean =>
  mergesSha256 === CLIP_MERGES_SHA256 && padTokenId < CLIP_VOCABULARY_SIZE;

/** Checks that a tokenizer can be built, and that its vocabulary is the manifest's. Throws as `buildTokenizer` does. */
export async function checkTokenizer(
  manifest: ModelManifest,
  announcement: Uint8Array<ArrayBuffer>,
): Promise<void> {
  if (announcement.length === 0) {
    if (!usesClip(manifest))
      throw new Error("tokenizer: has another vocabulary than CLIP's, but does not announce it");
    return;
  }
  const decoded = await decodeAnnouncement(announcement);
  const { vocabulary } = decoded;
  const found = vocabulary === null ? CLIP_MERGES_SHA256 : await sha256Hex(vocabularyText(vocabulary));
  if (found !== manifest.tokenizer.mergesSha256) {
    throw new Error(
      `tokenizer: its vocabulary has the hash ${found}, the manifest says ${manifest.tokenizer.mergesSha256}`,
    );
  }
  const tokenizer = tokenizerFrom(decoded);
  // Added tokens are compiled at the first use.
  tokenizer.encode("a");
}
