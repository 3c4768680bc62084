// `node prepare.ts JSON`: writes the published shapes and builds their graphs, while the device is busy with other parts.

import { setPriority } from "node:os";
import { DigestCache } from "../../../gpu-worker/checkpoint/files/digest-cache.ts";
import { DiffusersCheckpoint } from "../../../gpu-worker/checkpoint/diffusers-layout.ts";
import { ensureGraphs } from "../../../gpu-worker/graph/cache.ts";
import { graphForm } from "../../../gpu-worker/graph/form.ts";
import type { Provider } from "../../../gpu-worker/runtime/session.ts";
import { writePublishedShape } from "../published-shape.ts";
import { send } from "./part-process.ts";
import { shapeFolder } from "./shapes.ts";

export interface PrepareArgument {
  readonly provider: Provider;
  readonly cacheDir: string;
  readonly layers: readonly number[];
}

/** Below that of the parts that are timed. */
const PRIORITY = 10;

const { provider, cacheDir, layers } = JSON.parse(process.argv[2] ?? "") as PrepareArgument;
setPriority(PRIORITY);
/** Seconds by layers. */
const done: Record<number, number> = {};
for (const count of layers) {
  const startedAt = performance.now();
  const folder = shapeFolder(cacheDir, count);
  writePublishedShape(folder, count, "safetensors");
  const checkpoint = new DiffusersCheckpoint(folder);
  const version = checkpoint.version(new DigestCache(cacheDir));
  ensureGraphs(checkpoint, version, { cacheDir, form: graphForm(provider, "w8a16", true) });
  done[count] = Math.round((performance.now() - startedAt) / 1_000);
  await send({ type: "partial", value: done });
}
await send({ type: "done", value: done });
process.disconnect();
