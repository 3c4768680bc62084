// The fields of an input that say what its images start from.

import { z } from "@hono/zod-openapi";
import { MAX_FEATHER, MAX_IMAGES, MAX_TIMESTEPS } from "@vqd/shared/limits.ts";

const wholeNumber = (max: number) => {
  const message = `must be an integer from 0 to ${max}`;
  return z.int({ error: message }).min(0, message).max(max, message);
};

export const startFields = {
  image: z
    .string()
    .nullish()
    .describe(
      "An image to start from: a data URL, an uploaded file, a link to an image of this service, or a public https URL. It is scaled to cover the model's size, and its centre is cut out.",
    ),
  mask: z
    .string()
    .nullish()
    .describe(
      "Which parts of `image` or `tokens` are made anew, as an image of the same size: what is white; the rest is held.",
    ),
  mask_channel: z
    .enum(["luminance", "alpha"])
    .nullish()
    .describe(
      "With alpha, what is transparent in the mask is made anew, or without a mask, what is transparent in the image. Defaults to luminance.",
    ),
  feather: wholeNumber(MAX_FEATHER)
    .nullish()
    .describe(
      "Pixels over which what is made anew fades in, within the mask. Outside of it the pixels are those of `image`. Defaults to 4.",
    ),
  strength: z
    .number()
    .min(0)
    .max(1)
    .nullish()
    .describe(
      "How much of `image` or `tokens` is made anew: 0 keeps it, 1 ignores it. Defaults to 1 with a mask, else to 0.8.",
    ),
  tokens: z
    .union([z.string(), z.array(z.string()).min(1).max(MAX_IMAGES)], "must be a string or a list of strings")
    .nullish()
    .describe(
      "Images to start from, as tokens: files of output_format tokens, by data URL or link, or the bytes of a step's tokens in base64. Without prompt, mask and strength they are only decoded.",
    ),
  from: z
    .strictObject({
      prediction: z.string().min(1).max(100).describe("The id of one of your predictions."),
      step: wholeNumber(MAX_TIMESTEPS).describe("Completed steps to keep."),
    })
    .nullish()
    .describe(
      "Continues another prediction after one of its steps. Everything that is not given is as it was there; with nothing given the result is the same.",
    ),
};
