// How many entries a page may have.

import { invalidInput } from "../../http/body/validation.ts";
import type { AppContext } from "../../http/context.ts";

/** The parameter `limit`, from 1 to `most`, which has at most four digits. Throws a VqdError (invalid_input). */
export function limitOf(c: AppContext, fallback: number, most: number): number {
  const text = c.req.query("limit");
  if (text === undefined) return fallback;
  const limit = /^\d{1,4}$/.test(text) ? Number(text) : 0;
  if (limit >= 1 && limit <= most) return limit;
  throw invalidInput([{ path: "limit", message: `must be an integer from 1 to ${most}` }]);
}
