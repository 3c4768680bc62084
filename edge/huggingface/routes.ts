// The paths of Hugging Face's dialect: those of an endpoint and of its serverless API.

import type { Route } from "../http/route.ts";
import { getPage } from "../routes/pages.ts";
import { HUGGINGFACE_ERRORS } from "./errors.ts";
import { textToImage } from "./text-to-image.ts";

export const huggingfaceRoutes: readonly Route[] = [
  // Browsers get the playground there.
  { path: "/", errors: HUGGINGFACE_ERRORS, open: "get", get: getPage("index"), post: textToImage },
  { path: "/models/*", errors: HUGGINGFACE_ERRORS },
  { path: "/models/:owner/:name", errors: HUGGINGFACE_ERRORS, post: textToImage },
];
