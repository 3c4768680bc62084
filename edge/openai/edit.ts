// OpenAI's endpoints that start from an image: edits and variations.

import type { AppContext } from "../http/context.ts";
import { modelOf, respond } from "./generate.ts";
import { readImageForm } from "./form.ts";
import { toPredictionInput } from "./request.ts";
import { editImagesSchema, variationSchema } from "./schema.ts";

/**
 * `POST /v1/images/edits`. What is transparent is made anew: in the mask or, without one, in the image. If that has no transparent
 * parts, all of it is made anew, but not from nothing.
 */
export async function editImages(c: AppContext): Promise<Response> {
  const { body, attached } = await readImageForm(c.req.raw, editImagesSchema, true);
  const model = await modelOf(c, body.model);
  const input = { ...toPredictionInput(body, model), mask_channel: "alpha" as const };
  return respond(c, { body, model, input, attached });
}

/** `POST /v1/images/variations` */
export async function varyImages(c: AppContext): Promise<Response> {
  const { body, attached } = await readImageForm(c.req.raw, variationSchema, false);
  const model = await modelOf(c, body.model);
  return respond(c, { body, model, input: toPredictionInput(body, model), attached });
}
