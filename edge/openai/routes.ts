// The paths of OpenAI's dialect.

import type { Route } from "../http/route.ts";
import { OPENAI_ERRORS } from "./errors.ts";
import { editImages, varyImages } from "./edit.ts";
import { generateImages } from "./generate.ts";

export const openaiRoutes: readonly Route[] = [
  { path: "/v1/images/*", errors: OPENAI_ERRORS },
  { path: "/v1/images/generations", errors: OPENAI_ERRORS, post: generateImages },
  { path: "/v1/images/edits", errors: OPENAI_ERRORS, post: editImages },
  { path: "/v1/images/variations", errors: OPENAI_ERRORS, post: varyImages },
];
