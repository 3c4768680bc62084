// What an input starts from, brought for a request: files that it names or has attached, or the state of another prediction.

import type { Config } from "../config.ts";
import { type Beginning, type AttachedFiles, bringBeginning } from "../service/inputs/beginning.ts";
import type { Refuse } from "../service/inputs/check.ts";
import { type Fork, forkOf } from "../service/inputs/fork.ts";
import type { PredictionInput } from "../service/schemas.ts";
import type { ModelManifest } from "@vqd/shared/model.ts";
import type { AppContext } from "./context.ts";
import { originOf } from "./urls.ts";

/** The texts of an input that may hold files. */
export function filesOf(body: unknown): string[] {
  const { image, mask, tokens } = ((body as { input?: unknown } | null)?.input ?? {}) as Record<
    string,
    unknown
  >;
  return [image, mask, tokens].flat().filter((value) => typeof value === "string");
}

/** Origins of links that mean this service itself, whichever name the request has for it. */
const ownOrigins = (c: AppContext, config: Config): ReadonlySet<string> =>
  new Set([originOf(config, c.req.url), new URL(c.req.url).origin]);

/** Throws a VqdError (invalid_input) that names the field. */
export function beginningOf(
  c: AppContext,
  input: PredictionInput,
  model: ModelManifest,
  refuse: Refuse,
  attached: AttachedFiles = {},
): Promise<Beginning> {
  const config = c.get("config");
  const here = {
    hubs: c.get("hubs"),
    config,
    bucket: c.env.FILES,
    keyName: c.get("keyName"),
    origins: ownOrigins(c, config),
  };
  return bringBeginning(input, attached, model, here, refuse);
}

/** The state that the input continues, if it does. Throws a VqdError: not_found, invalid_input. */
export async function forkOfInput(
  c: AppContext,
  { from }: PredictionInput,
  refuse: Refuse,
): Promise<Fork | undefined> {
  if (!from) return undefined;
  return forkOf(from, {
    hubs: c.get("hubs"),
    config: c.get("config"),
    keyName: c.get("keyName"),
    refuse,
    path: "input.from",
  });
}

/** The input as its request is told from others by: files by what they hold, not by their names. */
export const identityOf = (input: object, { image, mask, tokens }: Beginning): unknown => ({
  ...input,
  ...(image === undefined ? {} : { image: image.identity }),
  ...(mask === undefined ? {} : { mask: mask.identity }),
  ...(tokens === undefined ? {} : { tokens: tokens.identity }),
});
