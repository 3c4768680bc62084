// Errors in Hugging Face's format: `{error, error_type}`, and `estimated_time` while no model is loaded.

import type { VqdError } from "@vqd/shared/errors.ts";
import type { ErrorDialect } from "../http/error-answer.ts";
import { ERROR_STATUS, type ErrorStatus } from "../http/error-status.ts";

/** Seconds that a worker with a model of usual size takes to load it. */
const LOADING_SECONDS = 20;

/** To Hugging Face's client 503 means that a model is being loaded, so that it sends the request again at once, without end. */
function statusOf({ code }: VqdError): ErrorStatus {
  if (code === "no_worker") return 503;
  if (code === "queue_full") return 429;
  const status = ERROR_STATUS[code];
  return status === 503 ? 500 : status;
}

export const HUGGINGFACE_ERRORS: ErrorDialect = {
  contentType: "application/json",
  statusOf,
  bodyOf: ({ message, code }) => ({
    error: message,
    error_type: code,
    ...(code === "no_worker" ? { estimated_time: LOADING_SECONDS } : {}),
  }),
};
