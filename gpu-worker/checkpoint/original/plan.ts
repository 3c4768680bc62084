// How the original's tensors become those of diffusers' layout.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { CheckpointError } from "../errors.ts";
import type { TensorEntry, TensorSource } from "../weights/tensor.ts";
import type { Tensors } from "./files.ts";

/** A tensor of a component: what it is made of is read when it is written. */
export interface PlannedWeight {
  readonly name: string;
  readonly shape: readonly number[];
  readonly read: () => Float32Array<ArrayBuffer>;
}

/** `name` as it is at the original's `from`. Throws a CheckpointError if that is missing or has another shape. */
export function same(tensors: Tensors, name: string, from: string, shape: readonly number[]): PlannedWeight {
  expectShape(tensors, from, shape);
  return { name, shape, read: () => tensors.read(from) };
}

function expectShape(tensors: Tensors, from: string, shape: readonly number[]): void {
  const found = tensors.shape(from, shape.length);
  if (found.join() === shape.join()) return;
  throw new CheckpointError(
    tensors.path,
    `tensor ${from} has shape [${found.join(", ")}], the config implies [${shape.join(", ")}]`,
    { remedy: "take config and weights from the same model" },
  );
}

/** Weight [outputs, inputs] and bias of a linear layer. */
export const linear = (
  tensors: Tensors,
  name: string,
  from: string,
  [outputs, inputs]: readonly [number, number],
): PlannedWeight[] => [
  same(tensors, `${name}.weight`, `${from}.weight`, [outputs, inputs]),
  same(tensors, `${name}.bias`, `${from}.bias`, [outputs]),
];

export const norm = (tensors: Tensors, name: string, from: string, width: number): PlannedWeight[] => [
  same(tensors, `${name}.weight`, `${from}.weight`, [width]),
  same(tensors, `${name}.bias`, `${from}.bias`, [width]),
];

/** A convolution as it is: weight [outputs, inputs, kernel, kernel] and bias. */
export const conv = (
  tensors: Tensors,
  name: string,
  from: string,
  [outputs, inputs, kernel]: readonly [number, number, number],
): PlannedWeight[] => [
  same(tensors, `${name}.weight`, `${from}.weight`, [outputs, inputs, kernel, kernel]),
  same(tensors, `${name}.bias`, `${from}.bias`, [outputs]),
];

/** A 1 x 1 convolution as a linear layer. */
export function pointwise(
  tensors: Tensors,
  name: string,
  from: string,
  [outputs, inputs]: readonly [number, number],
): PlannedWeight[] {
  expectShape(tensors, `${from}.weight`, [outputs, inputs, 1, 1]);
  return [
    { name: `${name}.weight`, shape: [outputs, inputs], read: () => tensors.read(`${from}.weight`) },
    same(tensors, `${name}.bias`, `${from}.bias`, [outputs]),
  ];
}

/** A 3 x 3 convolution as a linear layer on the neighbours of a pixel, row by row: [outputs, 9 x inputs]. */
export function neighbourhood(
  tensors: Tensors,
  name: string,
  from: string,
  [outputs, inputs]: readonly [number, number],
): PlannedWeight[] {
  expectShape(tensors, `${from}.weight`, [outputs, inputs, 3, 3]);
  const read = (): Float32Array<ArrayBuffer> => {
    const weight = tensors.read(`${from}.weight`);
    const result = new Float32Array(weight.length);
    for (let i = 0; i < weight.length; i++) {
      const input = Math.floor(i / 9) % inputs;
      const row = Math.floor(i / 9 / inputs);
      result[(row * 9 + (i % 9)) * inputs + input] = weight[i] ?? outOfBounds();
    }
    return result;
  };
  return [
    { name: `${name}.weight`, shape: [outputs, 9 * inputs], read },
    same(tensors, `${name}.bias`, `${from}.bias`, [outputs]),
  ];
}

/** Part `index` of a tensor of `count` equal parts along its first axis. */
export function slice(
  tensors: Tensors,
  name: string,
  from: string,
  { shape, index, count }: { shape: readonly number[]; index: number; count: number },
): PlannedWeight {
  const [rows = 0, ...rest] = shape;
  expectShape(tensors, from, [rows * count, ...rest]);
  const read = (): Float32Array<ArrayBuffer> => {
    const whole = tensors.read(from);
    const size = whole.length / count;
    return whole.slice(index * size, (index + 1) * size);
  };
  return { name, shape, read };
}

/** Planned weights as a weight file. */
export class PlannedSource implements TensorSource {
  readonly path: string;
  readonly bytes = 0;
  readonly entries: ReadonlyMap<string, TensorEntry>;
  readonly #weights: ReadonlyMap<string, PlannedWeight>;

  constructor(path: string, weights: readonly PlannedWeight[]) {
    this.path = path;
    this.#weights = new Map(weights.map((weight) => [weight.name, weight]));
    this.entries = new Map(
      weights.map(({ name, shape }) => [name, { name, shape, dtype: "F32", begin: 0, end: 0 }]),
    );
  }

  read(name: string): Float32Array<ArrayBuffer> {
    return (this.#weights.get(name) ?? outOfBounds()).read();
  }

  /** The files that it reads from are closed by those who opened them. */
  close(): void {}
}
