// Parameters of a request that had no effect.

import type { AppContext } from "./context.ts";

export const IGNORED_HEADER = "x-ignored-parameters";

export function setIgnored(c: AppContext, fields: readonly string[]): void {
  if (fields.length > 0) c.header(IGNORED_HEADER, fields.join(", "));
}
