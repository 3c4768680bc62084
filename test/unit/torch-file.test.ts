// PyTorch's files: what torch.save wrote is read to the same values.

import { readFile, writeFile } from "node:fs/promises";
import { join } from "node:path";
import { describe, expect, it } from "vitest";
import type { TensorSource } from "../../gpu-worker/checkpoint/weights/tensor.ts";
import { TorchFile } from "../../gpu-worker/checkpoint/torch/torch-file.ts";
import { temporaryFolder } from "../support/tiny.ts";
import { torchFile } from "../support/torch-files.ts";

const FIXTURES = join(import.meta.dirname, "..", "fixtures", "torch");

function withFile<T>(path: string, use: (file: TensorSource) => T): T {
  const file = TorchFile.open(path);
  try {
    return use(file);
  } finally {
    file.close();
  }
}

async function written(content: Uint8Array): Promise<string> {
  const path = join(await temporaryFolder(), "pytorch_model.bin");
  await writeFile(path, content);
  return path;
}

const floats = (...values: number[]): Uint8Array => new Uint8Array(Float32Array.from(values).buffer);

describe("a file of torch.save", () => {
  it("gives every kind of float, parameters, views and tied tensors as PyTorch does", async () => {
    const expected = JSON.parse(await readFile(join(FIXTURES, "state-dict.json"), "utf8")) as object;
    withFile(join(FIXTURES, "state-dict.bin"), (file) => {
      const values = Object.keys(expected).map((name) => [name, [...file.read(name)]]);
      expect(Object.fromEntries(values)).toEqual(expected);
      expect(file.entries.get("transposed")).toMatchObject({ dtype: "F32", shape: [6, 4] });
      expect(file.entries.get("scalar")).toMatchObject({ shape: [] });
    });
  });

  it("may hold integers and plain values, which are no weights", () => {
    withFile(join(FIXTURES, "state-dict.bin"), (file) => {
      expect(file.entries.get("position_ids")).toMatchObject({ dtype: "I64", shape: [1, 4] });
      expect(() => file.read("position_ids")).toThrow(/tensor position_ids: weights of dtype I64 are not/);
      expect(file.entries.has("note")).toBe(false);
      expect(() => file.read("note")).toThrow(/tensor note is missing/);
    });
  });

  it.each([2, 3, 4, 5])("is read in pickle protocol %d", (protocol) => {
    withFile(join(FIXTURES, `module-${protocol}.bin`), (file) => {
      expect([...file.entries.keys()]).toEqual(["weight", "bias"]);
      expect(file.entries.get("weight")?.shape).toEqual([3, 5]);
      expect([...file.read("bias")]).toEqual([
        -0.036309052258729935, -0.29014748334884644, 0.40176135301589966,
      ]);
      expect([...file.read("weight").subarray(0, 5)]).toEqual([
        -0.44340017437934875, -0.3527894914150238, -0.19154830276966095, -0.423104465007782,
        -0.025388887152075768,
      ]);
    });
  });

  it("of PyTorch before 1.6 is refused with what to do", () => {
    expect(() => TorchFile.open(join(FIXTURES, "before-1.6.bin"))).toThrow(/before 1\.6.*load and save it/);
  });
});

describe("a zip file in PyTorch's layout", () => {
  const tensors = { a: { dtype: "F32", shape: [2, 2], data: floats(1, 2, 3, 4) } } as const;

  it.each([false, true])("is read, zip64 or not: %j", async (zip64) => {
    const path = await written(torchFile(tensors, zip64));
    expect(withFile(path, (file) => [...file.read("a")])).toEqual([1, 2, 3, 4]);
  });

  it("gives the values of a view in the order of its indices", async () => {
    const view = { dtype: "F32", shape: [2, 2], strides: [1, 3], offset: 1, data: floats(0, 1, 2, 3, 4, 5) };
    const path = await written(torchFile({ a: view as typeof view & { dtype: "F32" } }));
    expect(withFile(path, (file) => [...file.read("a")])).toEqual([1, 4, 2, 5]);
  });

  it("reads no more than the tensor asked for", async () => {
    const path = await written(torchFile({ ...tensors, b: { dtype: "F32", shape: [1], data: floats(9) } }));
    withFile(path, (file) => {
      const { begin = 0, end = 0 } = file.entries.get("a") ?? {};
      expect(end - begin).toBe(16);
      expect([...file.read("b")]).toEqual([9]);
    });
  });
});
