// The origin of links in responses.

import type { Config } from "../config.ts";

/** The configured public origin, or else that of the request. */
export const originOf = (config: Config, requestUrl: string): string =>
  config.publicUrl ?? new URL(requestUrl).origin;
