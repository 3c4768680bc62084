// The bundled model with a few of its layers, for tests that want images of its size, but not what they show.

import { cpSync, mkdirSync, readFileSync, writeFileSync } from "node:fs";
import { join } from "node:path";
import { BUNDLED_MODEL } from "../../../infra/stack/paths.ts";

/** A first one, one in the middle and a last one: graphs have these three kinds. */
const LAYERS = 3;

/** Writes it to `folder/short`, and returns that: a step takes less than half of the time of the whole model's. */
export function writeShortModel(folder: string): string {
  const model = join(folder, "short");
  mkdirSync(folder, { recursive: true });
  // What golden.json records are numbers of all the layers.
  cpSync(BUNDLED_MODEL, model, { recursive: true, filter: (path) => !path.endsWith("golden.json") });
  const path = join(model, "transformer", "config.json");
  const config = JSON.parse(readFileSync(path, "utf8")) as Record<string, unknown>;
  writeFileSync(path, JSON.stringify({ ...config, num_layers: LAYERS }));
  return model;
}
