// `node prepare.ts MODEL CACHE QUANTIZATION [LAYERS]`: builds a case's graphs, so that measuring starts from a warm cache.

import { ensureGraphs } from "../../gpu-worker/graph/cache.ts";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { graphForm, type Quantization } from "../../gpu-worker/graph/form.ts";
import { writePublishedShape } from "./published-shape.ts";

const [model = "", cacheDir = "", quantization = "int8", layers] = process.argv.slice(2);
if (layers !== undefined) writePublishedShape(model, Number(layers), "safetensors");
const checkpoint = new DiffusersCheckpoint(model);
const form = graphForm("cpu", quantization as Quantization);
ensureGraphs(checkpoint, checkpoint.version(), { cacheDir, form });
