// The origin of the URLs that answers link to.

import type { Config } from "../config.ts";

/** Origin that clients see: the configured one, else that of the request. */
export const originOf = (config: Config, requestUrl: string): string =>
  config.publicUrl ?? new URL(requestUrl).origin;
