// The parts of gpu-check, in the order in which they are done.

import { BUNDLED_MODEL } from "../../../gpu-worker/config.ts";
import { GPU_QUANTIZATIONS } from "../../../gpu-worker/graph/form.ts";
import {
  checkFallback,
  checkForm,
  checkParity,
  type Device,
  measureImages,
  measurePeak,
  measureSteps,
  measureTorch,
  TINY_MODEL,
} from "./checks.ts";
import { shapeFolder, SHAPES } from "./shapes.ts";
import { checkTiles } from "./tiles.ts";
import type { TimeLeft } from "./time-left.ts";

export interface PartSettings {
  readonly device: Device;
  readonly isSmall: boolean;
  readonly python: string | undefined;
}

interface PartContext extends PartSettings {
  readonly time: TimeLeft;
  /** Tells what has been measured so far. */
  readonly onPartial: (value: object) => void;
}

export interface Part {
  readonly name: string;
  /** A check that fails makes the whole fail; a measurement says why there is none. */
  readonly kind: "check" | "measurement";
  /** It may take no longer. */
  readonly seconds: number;
  readonly run: (context: PartContext) => Promise<object>;
}

const modelOf = ({ isSmall }: PartSettings): string => (isSmall ? TINY_MODEL : BUNDLED_MODEL);
const repeatsOf = ({ isSmall }: PartSettings): number => (isSmall ? 2 : 10);
/** Software drivers compile shaders for half a minute before the first pass. */
const SLOW_DRIVER = 3;

const ALWAYS: readonly Part[] = [
  ...GPU_QUANTIZATIONS.map((form): Part => ({
    name: `form_${form}`,
    // 4-bit weights are measured, not promised: docs/quantization.md.
    kind: form === "w4a16" ? "measurement" : "check",
    seconds: 60,
    run: (context) => checkForm(modelOf(context), form, context.device),
  })),
  {
    name: "fallback",
    kind: "check",
    seconds: 60,
    run: (context) => checkFallback(modelOf(context), "w8a16", context.device),
  },
  {
    name: "tiles",
    kind: "check",
    seconds: 60,
    run: ({ device, isSmall }) => checkTiles(isSmall ? 256 : 1_024, device),
  },
  {
    name: "parity",
    kind: "check",
    seconds: 90,
    run: ({ device, isSmall }) =>
      checkParity(device, isSmall ? ["batch_cfg"] : ["ten", "partial", "batch_cfg"]),
  },
  {
    name: "peak",
    kind: "measurement",
    seconds: 60,
    run: ({ device, isSmall }) =>
      measurePeak(
        device,
        isSmall || device.provider === "cpu"
          ? { size: 512, products: 8, repeats: 2 }
          : { size: 4_096, products: 32, repeats: 10 },
      ),
  },
  {
    name: "steps",
    kind: "measurement",
    seconds: 60,
    run: (context) => stepsOf(context, modelOf(context), context.isSmall ? [1, 2] : [1, 2, 4, 8, 16, 32]),
  },
  {
    name: "images",
    kind: "measurement",
    seconds: 60,
    run: (context) =>
      measureImages(
        modelOf(context),
        context.isSmall ? { images: 1, steps: 4 } : { images: 16, steps: 25 },
        context.device,
      ),
  },
];

const OF_SHAPES: readonly Part[] = SHAPES.flatMap((shape): Part[] => [
  {
    name: `shape${shape.layers}`,
    kind: "measurement",
    seconds: shape.seconds,
    run: (context) => stepsOf(context, shapeFolder(context.device.cacheDir, shape.layers), shape.images),
  },
  {
    name: `torch${shape.layers}`,
    kind: "measurement",
    seconds: 90,
    run: (context) =>
      measureTorch({
        python: context.python ?? "",
        layers: shape.layers,
        rows: 2,
        repeats: repeatsOf(context),
        device: context.device.provider === "cpu" ? "cpu" : "cuda",
      }),
  },
]);

const stepsOf = (context: PartContext, model: string, images: readonly number[]): Promise<object> =>
  measureSteps(model, "w8a16", {
    device: context.device,
    images,
    repeats: repeatsOf(context),
    time: context.time,
    onProgress: context.onPartial,
  });

export const PART_NAMES: ReadonlySet<string> = new Set([...ALWAYS, ...OF_SHAPES].map(({ name }) => name));

/** Those to be done: none of the published shapes if small, and torch only with a Python. */
export const partsFor = ({ isSmall, python }: Pick<PartSettings, "isSmall" | "python">): Part[] =>
  [...ALWAYS, ...(isSmall ? [] : OF_SHAPES)]
    .filter(({ name }) => python !== undefined || !name.startsWith("torch"))
    .map(({ name, kind, seconds, run }) => ({
      name,
      kind,
      run,
      seconds: isSmall ? SLOW_DRIVER * seconds : seconds,
    }));
