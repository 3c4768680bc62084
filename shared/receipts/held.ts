// Which tokens of an image are held, as text.

import { z } from "zod";
import { MAX_LATENT_PIXELS } from "../limits.ts";

/** One character per token, 1 for those that are held; null for none. */
export const heldSchema = z
  .string()
  .regex(/^[01]+$/)
  .max(MAX_LATENT_PIXELS)
  .nullable();
