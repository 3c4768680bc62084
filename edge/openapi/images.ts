// OpenAI's images endpoint, described.

import { generateImagesSchema } from "../schemas.ts";
import { imagesSchema } from "./answers.ts";
import { json, jsonBody, KEYED, openaiErrors, type Operation } from "./operation.ts";

export const imageOperations: readonly Operation[] = [
  {
    method: "post",
    path: "/v1/images/generations",
    operationId: "generateImages",
    summary: "Make images and wait",
    description:
      "OpenAI's form: one request that answers with the images. If the client leaves before, they are not made. " +
      "What is wrong with a field is answered with 400, as OpenAI does.",
    tags: ["Images"],
    ...KEYED,
    request: {
      body: jsonBody(generateImagesSchema.openapi("GenerateImages"), {
        prompt: { summary: "Just a prompt", value: { prompt: "grinning face, flat style" } },
        settings: {
          summary: "With settings",
          value: {
            prompt: "grinning face, flat style",
            n: 2,
            response_format: "b64_json",
            output_format: "webp",
            num_inference_steps: 25,
            guidance_scale: 3,
            seed: 7,
          },
        },
      }),
    },
    responses: {
      200: json(imagesSchema, "The images."),
      ...openaiErrors(400, 401, 404, 413, 415, 500, 503, 504),
    },
  },
];
