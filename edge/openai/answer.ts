// What OpenAI's response and its event stream have in common: the images, their usage and their failures.

import { VqdError } from "@vqd/shared/errors.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import { encodeBase64 } from "../util/bytes.ts";
import { fileKey } from "../hub/storage/files.ts";
import { outputFormatOf } from "../service/schemas.ts";
import { fileUrl } from "../prediction/urls.ts";
import { presetOf, QUALITIES_OF_PRESET } from "./request.ts";
import { type ImageRequest, ignoredOf, wantsUrls } from "./schema.ts";

/** An image request that has been dispatched. */
export interface ImageJob {
  readonly body: ImageRequest;
  /** Whether it starts from an image. */
  readonly isEdit: boolean;
  readonly model: ModelManifest;
  /** Origin for links. */
  readonly origin: string;
  readonly files: R2Bucket;
  /** Whether the request has an idempotency key. */
  readonly hasKey: boolean;
}

export type ImageContent = { readonly url: string } | { readonly b64_json: string };

/** A stored image in the requested form. Throws a VqdError (internal) if it is no longer stored. */
export async function imageContent(
  { body, origin, files }: ImageJob,
  fileCapability: string,
  name: string,
): Promise<ImageContent> {
  if (wantsUrls(body)) return { url: fileUrl(origin, fileCapability, name) };
  const file = await files.get(fileKey(fileCapability, name));
  if (file === null) throw new VqdError("internal", "an image is missing from storage");
  return { b64_json: encodeBase64(new Uint8Array(await file.arrayBuffer())) };
}

/** Fields that say how the images were made and are the same in all responses. */
export function commonFields({ body, model }: ImageJob) {
  const identifier = body.safety_identifier || body.user;
  const own = `${model.imageWidth}x${model.imageHeight}`;
  const size = !body.size || body.size === "auto" ? own : body.size;
  const ignored = ignoredOf(body);
  return {
    size,
    quality: QUALITIES_OF_PRESET[presetOf(body)],
    output_format: outputFormatOf(body.output_format),
    background: "opaque",
    ...(identifier ? { safety_identifier: identifier } : {}),
    // In addition to OpenAI's fields.
    ...(size === own ? {} : { resampled_from: own }),
    ...(ignored.length === 0 ? {} : { ignored }),
  } as const;
}

/** Usage in tokens: those of `images` images, and if the request's own `input` counts, of its prompt and image. */
export function usage(
  { model, isEdit }: ImageJob,
  images: number,
  input: { textTokens: number } | undefined,
) {
  const perImage = model.latentHeight * model.latentWidth;
  const imageTokens = perImage * images;
  const textTokens = input?.textTokens ?? 0;
  const sourceTokens = isEdit && input !== undefined ? perImage : 0;
  return {
    input_tokens: textTokens + sourceTokens,
    output_tokens: imageTokens,
    total_tokens: textTokens + sourceTokens + imageTokens,
    input_tokens_details: { text_tokens: textTokens, image_tokens: sourceTokens },
    output_tokens_details: { text_tokens: 0, image_tokens: imageTokens },
  };
}
