// What the suite's measurements come to: ratios, a table, a plot.

import { drawBars } from "./bars.ts";
import type { EndToEnd } from "./end-to-end.ts";
import type { PeerDurations } from "./peers.ts";
import { type Shape, type Spread, spreadOf, type SuiteCase } from "./step-case.ts";

const PUBLISHED_LAYERS = 36;

export interface Measured {
  readonly threads: number;
  readonly roofline: { readonly fp32_gops: number; readonly int8_gops: number };
  readonly results: readonly { one: SuiteCase; durations: readonly number[]; rss: number }[];
  readonly endToEnd: readonly EndToEnd[];
  /** diffusers with two layers, and with four. */
  readonly peer:
    | ({ readonly torch: string; readonly deep: PeerDurations } & PeerDurations)
    | { readonly skipped: string };
  /** Of a guided step of the published shape with two layers. */
  readonly operations: number;
}

export type Report = ReturnType<typeof summarise>;

const round = (value: number): number => Math.round(value * 100) / 100;

/** Ratios are of each case's least time: other work on the machine only ever adds to it. */
export function summarise({ threads, roofline, results, endToEnd, peer, operations }: Measured) {
  const rows = results.map(({ one, durations, rss }) => ({
    ...one,
    step_ms: spreadOf(durations),
    rss_mb: rss,
  }));
  const step = (shape: Shape, form: SuiteCase["form"], quantization: SuiteCase["quantization"]): number =>
    rows.find(
      (row) =>
        row.shape === shape &&
        row.form === form &&
        row.quantization === quantization &&
        row.images === 1 &&
        row.step === "middle" &&
        row.threads === threads,
    )?.step_ms.min ?? Number.NaN;
  const two = step("ithq, 2 layers", "ours", "int8");
  const perLayer = (step("ithq, 4 layers", "ours", "int8") - two) / 2;
  const peerPerLayer = (kind: "fp32" | "bf16"): number =>
    "skipped" in peer ? Number.NaN : (spreadOf(peer.deep[kind]).min - spreadOf(peer[kind]).min) / 2;
  const gops = operations / two / 1e6;
  const peers: Readonly<Record<"fp32" | "bf16", Spread>> | undefined =
    "skipped" in peer ? undefined : { fp32: spreadOf(peer.fp32), bf16: spreadOf(peer.bf16) };
  return {
    rows,
    roofline,
    end_to_end: endToEnd,
    diffusers: "skipped" in peer ? peer : { torch: peer.torch, ...peers },
    peers,
    summary: {
      ithq_all_layers_extrapolated_ms: Math.round(two + (PUBLISHED_LAYERS - 2) * perLayer),
      ithq_int8_gops: Math.round(gops),
      share_of_int8_peak: round(gops / roofline.int8_gops),
      faster_than_plain_graph: {
        bundled: round(step("bundled", "plain", "none") / step("bundled", "ours", "int8")),
        ithq: round(step("ithq, 2 layers", "plain", "none") / two),
      },
      ...(peers === undefined
        ? {}
        : {
            ithq_faster_than_diffusers: {
              fp32: round(peers.fp32.min / two),
              bf16: round(peers.bf16.min / two),
            },
            ithq_each_further_layer_ms: {
              ours: round(perLayer),
              diffusers_fp32: round(peerPerLayer("fp32")),
              diffusers_bf16: round(peerPerLayer("bf16")),
              faster_than_fp32: round(peerPerLayer("fp32") / perLayer),
              faster_than_bf16: round(peerPerLayer("bf16") / perLayer),
            },
          }),
    },
  };
}

export function printReport({ rows, roofline, end_to_end: endToEnd, peers, summary }: Report): void {
  const print = (line = ""): void => void process.stdout.write(`${line}\n`);
  print(
    "| shape | graph | numbers | images | threads | of a run | step, ms | least | most | resident, MiB |",
  );
  print("| --- | --- | --- | --: | --: | --- | --: | --: | --: | --: |");
  const numbers: Record<string, string> = { none: "fp32" };
  for (const { shape, form, quantization, images, threads, step, step_ms: ms, rss_mb: rss } of rows) {
    const name = form === "ours" ? "vqd" : "plain";
    const cells = [
      shape,
      name,
      numbers[quantization] ?? quantization,
      images,
      threads,
      step,
      ms.median,
      ms.min,
      ms.max,
      rss,
    ];
    print(`| ${cells.join(" | ")} |`);
  }
  for (const [kind, ms] of Object.entries(peers ?? {})) {
    print(`| ithq, 2 layers | diffusers | ${kind} | 1 | | any | ${ms.median} | ${ms.min} | ${ms.max} | |`);
  }
  print(`\nlarge products: fp32 ${roofline.fp32_gops}, int8 ${roofline.int8_gops} GOP/s`);
  for (const { images, ours_s, plain_s, ratio } of endToEnd) {
    print(`${images} image(s), 100 guided steps: ${ours_s} s, with the plain graph ${plain_s} s: ${ratio} x`);
  }
  print(JSON.stringify(summary, null, 2));
}

export function drawReport({ rows, peers }: Report, machine: string): string {
  const shown = rows.filter(
    ({ shape, images, threads }) =>
      shape === "ithq, 2 layers" && images === 1 && threads === Math.max(...rows.map((row) => row.threads)),
  );
  return drawBars("A guided step of the published shape, 2 of its 36 layers, least ms", machine, [
    ...Object.entries(peers ?? {}).map(([kind, ms]) => ({ label: `diffusers, ${kind}`, value: ms.min })),
    ...shown
      .toSorted((a, b) => b.step_ms.min - a.step_ms.min)
      .map(({ form, quantization, step, step_ms }) => ({
        label: [
          form === "plain" ? "plain graph" : "vqd",
          quantization === "none" ? "fp32" : "int8",
          ...(step === "last" ? ["last step"] : []),
        ].join(", "),
        value: step_ms.min,
      })),
  ]);
}
