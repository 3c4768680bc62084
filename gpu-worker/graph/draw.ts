// Draws the pixels' next classes in the graph: guidance, temperature, truncation, sharpening, posterior and inverse CDF.

import type { GraphBuilder } from "./onnx.ts";

/**
 * Settings of an image as the graph takes them, one column each of its input `settings`. With p(x_0) after guidance,
 * temperature, truncation and sharpening, `own` its value for the pixel's class x_t and `others` the sum of the rest, the
 * pixel leaves its class with probability l / (l + k), where l = leaveOwn x own + leaveOthers x others and k = keepOwn x
 * own + keepOthers x others, and then draws class k with weight keepA x p(k) + keepB x (others + ratio x own).
 */
export const SETTINGS = [
  "guidance",
  "sharpness",
  "truncation",
  "lowest",
  "purity",
  "keepA",
  "keepB",
  "ratio",
  "leaveOwn",
  "leaveOthers",
  "keepOwn",
  "keepOthers",
  "redraws",
] as const;
export type Setting = (typeof SETTINGS)[number];

/** Halvings of the interval in which truncation's threshold is searched: to about 1e-6 nats, the rounding of log p. */
const HALVINGS = 22;
/** The largest number below 1 whose product with any float32 is smaller than that. */
const BELOW_ONE = 1 - 2 ** -23;

/**
 * `log_probs` [B, W, K] of rows → the classes of N images' W asked pixels. Everything is computed in fp32.
 *
 * Inputs: `conditional` and `unconditional` int32 [N], an image's row with and without its prompt, the same for an image that
 * is not guided; `current` int32 [N, W], the pixels' classes x_t, K for the mask; `change` and `choice` [N, W], their two
 * random numbers; `truncates` bool [1], whether any image has a rate below 1; `settings` [N, 13], see `SETTINGS`: `sharpness` is 1 / temperature, `truncation` the rate, 2 for none,
 * `lowest` a lower bound of log p - max log p at the cut, `purity` the weight of purity's sharpening, and `redraws` 1 where
 * every pixel draws from p(x_0) whatever its class.
 *
 * Outputs [N, W]: `classes` int32, the next classes; `certainty`, the probability of a masked pixel's drawn class, or of the
 * class that another one has; `purity`, the probability of the likeliest class before truncation; and `most_likely` int32,
 * that class.
 *
 * Truncation keeps classes of equal probability at the cut together, of which `truncatePixel` keeps the first: a tie within
 * rounding, like a random number at the boundary of two classes.
 */
export function drawClasses(graph: GraphBuilder, logProbs: string, classes: number): void {
  const op = graph.op.bind(graph);
  const sum = (x: string): string => op("ReduceSum", [x, graph.ints([-1])], { keepdims: 1 });
  const number = (value: number): string => graph.scalar(value);
  const zero = number(0);
  const perPixel = (x: string): string => op("Unsqueeze", [x, graph.ints([2])]);

  const row = (name: string): string =>
    op("Gather", [logProbs, graph.input(name, "int32", ["images"])], { axis: 0 });
  // Exact as floats, in which the indices of this file are counted.
  const current = perPixel(graph.cast(graph.input("current", "int32", ["images", "asked"]), "float32"));
  const change = perPixel(graph.input("change", "float32", ["images", "asked"]));
  const choice = perPixel(graph.input("choice", "float32", ["images", "asked"]));
  const settings = perPixel(graph.input("settings", "float32", ["images", SETTINGS.length]));
  // One by one: a WebGPU shader may write to no more than eight buffers, so none could split them all.
  const setting = (name: Setting): string =>
    op("Gather", [settings, graph.ints([SETTINGS.indexOf(name)])], { axis: 1 });

  // log p up to a common term, relative to its largest.
  const [conditional, unconditional] = [row("conditional"), row("unconditional")];
  const guided = op("Add", [
    unconditional,
    op("Mul", [setting("guidance"), op("Sub", [conditional, unconditional])]),
  ]);
  const largest = op("ReduceMax", [guided], { axes: [-1], keepdims: 1 });
  const relative = op("Mul", [op("Sub", [guided, largest]), setting("sharpness")]);
  const weights = op("Exp", [relative]);
  const total = sum(weights);
  const purity = op("Div", [number(1), total]);

  const [rate, lowest] = [setting("truncation"), setting("lowest")];
  const cut = graph.either(graph.input("truncates", "bool", [1]), "float32", {
    whenTrue: () => truncationCut(graph, { relative, weights, total }, rate, lowest),
    // Of an image that is not truncated, below all classes.
    whenFalse: () => lowest,
  });
  const exponent = op("Add", [op("Mul", [purity, setting("purity")]), number(1)]);
  const isKept = op("GreaterOrEqual", [relative, cut]);
  const kept = op("Where", [isKept, op("Exp", [op("Mul", [relative, exponent])]), zero]);

  const classIds = graph.constant(
    Float32Array.from({ length: classes }, (_, k) => k),
    [classes],
  );
  const isClass = (ids: string): string => op("Equal", [classIds, ids]);
  const isOwn = isClass(current);
  const own = sum(op("Where", [isOwn, kept, zero]));
  const others = sum(op("Where", [isOwn, zero, kept]));
  const mix = (ofOwn: Setting, ofOthers: Setting): string =>
    op("Add", [op("Mul", [setting(ofOwn), own]), op("Mul", [setting(ofOthers), others])]);

  const base = op("Add", [others, op("Mul", [own, setting("ratio")])]);
  const mixed = op("Add", [op("Mul", [kept, setting("keepA")]), op("Mul", [base, setting("keepB")])]);
  const redraws = op("Greater", [setting("redraws"), number(0.5)]);
  const isExcluded = op("And", [isOwn, op("Not", [redraws])]);
  const drawn = pickClass(graph, op("Where", [isExcluded, zero, mixed]), choice, classes);

  const leave = mix("leaveOwn", "leaveOthers");
  const either = op("Add", [leave, mix("keepOwn", "keepOthers")]);
  const isMasked = op("Equal", [current, number(classes)]);
  const stays = op("Not", [op("Less", [op("Mul", [change, either]), leave])]);
  const keepsClass = op("And", [stays, op("And", [op("Not", [redraws]), op("Not", [isMasked])])]);

  const ofDrawn = sum(op("Where", [isClass(drawn), kept, zero]));
  const ofClass = op("Where", [isMasked, ofDrawn, own]);
  const certainty = op("Div", [ofClass, op("Add", [own, others])]);
  // The first of the largest. WebGPU has no ArgMax.
  const isLargest = op("GreaterOrEqual", [guided, largest]);
  const mostLikely = op("ReduceMin", [op("Where", [isLargest, classIds, number(classes)])], {
    axes: [-1],
    keepdims: 1,
  });

  const output = (name: string, type: "int32" | "float32", value: string): void => {
    const flat = op("Squeeze", [value, graph.ints([2])]);
    graph.output(name, type, ["images", "asked"], type === "int32" ? graph.cast(flat, type) : flat);
  };
  output("classes", "int32", op("Where", [keepsClass, current, drawn]));
  output("certainty", "float32", certainty);
  output("purity", "float32", purity);
  output("most_likely", "int32", mostLikely);
}

/**
 * A threshold [N, W, 1] of log p such that the classes not below it have the fraction `rate` of the weights, and hardly more
 * of them than that takes: found by halving the interval from `lowest` to 0, since a GPU sorts thousands of classes slowly.
 */
function truncationCut(
  graph: GraphBuilder,
  { relative, weights, total }: { relative: string; weights: string; total: string },
  rate: string,
  lowest: string,
): string {
  const op = graph.op.bind(graph);
  const needed = op("Mul", [total, rate]);
  let cut = op("Mul", [lowest, graph.scalar(0.5)]);
  let step = cut;
  for (let i = 0; i < HALVINGS; i++) {
    const isAbove = op("GreaterOrEqual", [relative, cut]);
    const above = op("ReduceSum", [op("Where", [isAbove, weights, graph.scalar(0)]), graph.ints([-1])], {
      keepdims: 1,
    });
    const suffices = op("GreaterOrEqual", [above, needed]);
    // Half of the (negative) step: up where fewer classes suffice, down where more are needed.
    step = op("Mul", [step, graph.scalar(0.5)]);
    cut = op("Add", [cut, op("Where", [suffices, op("Neg", [step]), step])]);
  }
  // The lower end of the last interval, at which the classes are known to suffice; lower by one step, because it is rounded.
  return op("Add", [cut, op("Mul", [step, graph.scalar(2)])]);
}

/**
 * The class [N, W, 1], as a float, at which the cumulative sum of `weights` [N, W, K] exceeds the fraction `choice` [N, W, 1] of the
 * total: by blocks of about sqrt(K) classes, first the block and then the class in it. Cumulative sums are products with a
 * triangular matrix, because a provider's own may take time quadratic in K.
 */
function pickClass(graph: GraphBuilder, weights: string, choice: string, classes: number): string {
  const op = graph.op.bind(graph);
  const size = Math.ceil(Math.sqrt(classes));
  const blocks = Math.ceil(classes / size);
  const padding = blocks * size - classes;
  const zero = graph.scalar(0);
  const padded = padding === 0 ? weights : op("Pad", [weights, graph.ints([0, 0, 0, 0, 0, padding]), zero]);
  const byBlock = op("Reshape", [padded, graph.ints([0, 0, blocks, size])]);
  const ofBlocks = op("ReduceSum", [byBlock, graph.ints([-1])], { keepdims: 0 });

  const block = firstAbove(graph, ofBlocks, blocks, (all) => op("Mul", [choice, all]));
  const blockIds = graph.constant(
    Float32Array.from({ length: blocks }, (_, i) => i),
    [blocks],
  );
  const isBlock = op("Unsqueeze", [op("Equal", [blockIds, block.index]), graph.ints([3])]);
  const inBlock = op("ReduceSum", [op("Where", [isBlock, byBlock, zero]), graph.ints([2])], { keepdims: 0 });

  const place = firstAbove(graph, inBlock, size, () => op("Sub", [block.target, block.before]));
  // Padding is never drawn: it has no weight.
  return op("Add", [op("Mul", [block.index, graph.scalar(size)]), place.index]);
}

/**
 * The first index [N, W, 1], as a float, at which the cumulative sum of `weights` [N, W, count] exceeds `targetOf` their
 * total; that target, and the sum before the index.
 */
function firstAbove(
  graph: GraphBuilder,
  weights: string,
  count: number,
  targetOf: (total: string) => string,
): { index: string; target: string; before: string } {
  const op = graph.op.bind(graph);
  const triangle = new Float32Array(count * count);
  for (let i = 0; i < count; i++) triangle.fill(1, i * count + i, (i + 1) * count);
  const cumulative = op("MatMul", [weights, graph.constant(triangle, [count, count])]);
  const total = op("ReduceMax", [cumulative], { axes: [-1], keepdims: 1 });
  // Rounding must not put the target at or beyond the last class.
  const limit = op("Mul", [total, graph.scalar(BELOW_ONE)]);
  const target = op("Min", [targetOf(total), limit]);
  const isBefore = graph.cast(op("LessOrEqual", [cumulative, target]), "float32");
  const index = op("ReduceSum", [isBefore, graph.ints([-1])], { keepdims: 1 });
  const before = op("ReduceMax", [op("Mul", [isBefore, cumulative])], { axes: [-1], keepdims: 1 });
  return { index, target, before };
}
