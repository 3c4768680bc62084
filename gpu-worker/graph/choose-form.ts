// The form of the graphs where none is named: the provider's best that the device can compute.

import { mkdtempSync, rmSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { floatTensor, type Provider, Session } from "../runtime/session.ts";
import { defaultQuantization, type Quantization } from "./form.ts";
import { GraphBuilder } from "./onnx.ts";

/**
 * `quantization` if it is given. Otherwise the provider's default, or `none` if the device has no fp16, which a WebGPU device
 * need not have: that is found out by computing something. Throws if the provider cannot run here.
 */
export async function chooseQuantization(
  provider: Provider,
  quantization: Quantization | undefined,
): Promise<Quantization> {
  if (quantization !== undefined) return quantization;
  if (provider !== "webgpu" || (await computesFp16(provider))) return defaultQuantization(provider);
  return "none";
}

/** Whether the provider's device has fp16. */
async function computesFp16(provider: Provider): Promise<boolean> {
  const dir = mkdtempSync(join(tmpdir(), "vqd-fp16-"));
  try {
    const path = join(dir, "double.onnx");
    const graph = new GraphBuilder("double", path);
    const x = graph.cast(graph.input("x", "float32", ["size"]), "float16");
    graph.output("y", "float32", ["size"], graph.cast(graph.op("Add", [x, x]), "float32"));
    graph.finish();
    const session = await Session.create(path, { provider, threads: 1 });
    try {
      await session.run({ x: floatTensor(Float32Array.of(1), [1]) }, "y");
      return true;
    } catch {
      return false;
    } finally {
      await session.release();
    }
  } finally {
    rmSync(dir, { recursive: true, force: true });
  }
}
