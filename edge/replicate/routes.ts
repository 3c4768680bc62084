// Paths of Replicate's API beside predictions and models. Their errors are problem details, as everywhere in /v1.

import { PROBLEMS } from "../http/problem.ts";
import type { Route } from "../http/route.ts";
import { createPrediction } from "../routes/predictions.ts";
import {
  getCollections,
  getDeployment,
  getDeployments,
  getHardware,
  getVersion,
  getVersions,
} from "./resources.ts";

export const replicateRoutes: readonly Route[] = [
  { path: "/v1/models/:owner/:name/versions", errors: PROBLEMS, get: getVersions },
  { path: "/v1/models/:owner/:name/versions/:version", errors: PROBLEMS, get: getVersion },
  { path: "/v1/deployments", errors: PROBLEMS, get: getDeployments },
  { path: "/v1/deployments/:owner/:name", errors: PROBLEMS, get: getDeployment },
  { path: "/v1/deployments/:owner/:name/predictions", errors: PROBLEMS, post: createPrediction },
  { path: "/v1/hardware", errors: PROBLEMS, get: getHardware },
  { path: "/v1/collections", errors: PROBLEMS, get: getCollections },
];
