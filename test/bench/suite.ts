// The suite of `npm run bench`: all cases one after the other, each in a process of its own, and what they come to.

import { execFile } from "node:child_process";
import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import type { Quantization } from "../../gpu-worker/graph/form.ts";
import { drawBars } from "./bars.ts";
import { type EndToEnd, measureEndToEnd, measurePlainStep } from "./end-to-end.ts";
import { asLine, describeMachine } from "./machine.ts";
import { measureDiffusers, type PeerResult } from "./peers.ts";
import { writePublishedShape } from "./published-shape.ts";
import { measureRoofline, stepOperations } from "./roofline.ts";
import type { Spread } from "./step-case.ts";

const run = promisify(execFile);

export interface SuiteOptions {
  readonly threads: number;
  readonly repeats: number;
  readonly python: string;
  readonly json: boolean;
  readonly plot: string | undefined;
}

interface CaseResult {
  readonly shape: "bundled" | "ithq";
  readonly layers?: number;
  readonly images: number;
  readonly threads: number;
  readonly quantization: Quantization;
  readonly step_ms: Spread;
  readonly rss_mb: number;
}

const PUBLISHED_LAYERS = 36;
const BATCHES = [1, 2, 4, 8, 16];

function cases(threads: number): string[][] {
  const flags = (shape: string, images: number, count: number, quantization: Quantization, layers = 2) =>
    `--shape ${shape} --layers ${layers} --images ${images} --guidance --threads ${count} --quantization ${quantization}`;
  const list: string[] = [];
  for (const quantization of ["int8", "none"] as const) {
    for (const images of BATCHES) list.push(flags("bundled", images, threads, quantization));
    list.push(flags("ithq", 1, threads, quantization));
    if (threads > 1) list.push(flags("bundled", 1, 1, quantization), flags("ithq", 1, 1, quantization));
  }
  list.push(flags("ithq", 4, threads, "int8"), flags("ithq", 1, threads, "int8", 4));
  return list.map((line) => line.split(" "));
}

/** Runs everything, with progress on stderr; writes the report to stdout and, if asked, a plot. */
export async function runSuite({ threads, repeats, python, json, plot }: SuiteOptions): Promise<void> {
  const say = (line: string): void => void (json || process.stdout.write(`${line}\n`));
  const note = (line: string): void => void process.stderr.write(`${line}\n`);
  say(`${asLine(describeMachine())}\n`);

  note("roofline ...");
  const roofline = await measureRoofline(threads, 5);
  const results: CaseResult[] = [];
  for (const flags of cases(threads)) {
    note(flags.join(" "));
    const main = join(import.meta.dirname, "main.ts");
    const { stdout } = await run(process.execPath, [main, ...flags, "--repeats", `${repeats}`, "--json"]);
    results.push(JSON.parse(stdout) as CaseResult);
  }

  const work = mkdtempSync(join(tmpdir(), "vqd-suite-"));
  try {
    const published = join(work, "ithq");
    writePublishedShape(published, 2, "safetensors");
    const plainCache = join(work, "cache");
    note("plain graph ...");
    const plain = {
      bundled: await measurePlainStep(BUNDLED_MODEL, plainCache, threads, repeats),
      ithq: await measurePlainStep(published, plainCache, threads, Math.min(repeats, 5)),
    };
    note("whole pictures ...");
    const endToEnd = await measureEndToEnd(plainCache, threads);
    note("diffusers ...");
    const { transformer, tokenizer } = new DiffusersCheckpoint(published);
    const textLength = tokenizer.maxLength;
    const peer = await measureDiffusers(python, transformer, { textLength, threads, repeats: 5 });
    const operations = stepOperations(transformer, 2, textLength);
    const report = summarise({ threads, roofline, results, plain, endToEnd, peer, operations });
    if (json) process.stdout.write(`${JSON.stringify({ machine: describeMachine(), ...report })}\n`);
    else printReport(report);
    if (plot !== undefined) writeFileSync(plot, drawReport(report));
  } finally {
    rmSync(work, { recursive: true, force: true });
  }
}

interface Measured {
  readonly threads: number;
  readonly roofline: { readonly fp32_gops: number; readonly int8_gops: number };
  readonly results: readonly CaseResult[];
  readonly plain: { readonly bundled: Spread; readonly ithq: Spread };
  readonly endToEnd: readonly EndToEnd[];
  readonly peer: PeerResult;
  /** Of a guided step of the published shape with two layers. */
  readonly operations: number;
}

type Report = ReturnType<typeof summarise>;

function summarise(measured: Measured) {
  const { threads, roofline, results, operations, peer, plain } = measured;
  const step = (shape: string, quantization: Quantization, layers = 2): number =>
    results.find(
      (one) =>
        one.shape === shape &&
        one.images === 1 &&
        one.threads === threads &&
        one.quantization === quantization &&
        (shape === "bundled" || one.layers === layers),
    )?.step_ms.median ?? Number.NaN;
  const two = step("ithq", "int8");
  const perLayer = (step("ithq", "int8", 4) - two) / 2;
  const gops = operations / two / 1e6;
  const round = (value: number): number => Math.round(value * 100) / 100;
  return {
    ...measured,
    summary: {
      ithq_two_layers_ms: two,
      ithq_all_layers_extrapolated_ms: Math.round(two + (PUBLISHED_LAYERS - 2) * perLayer),
      int8_gops: Math.round(gops),
      share_of_int8_peak: round(gops / roofline.int8_gops),
      faster_than_plain_graph: {
        bundled: round(plain.bundled.median / step("bundled", "int8")),
        ithq: round(plain.ithq.median / two),
      },
      faster_than_diffusers:
        "skipped" in peer
          ? peer
          : { fp32: round(peer.fp32.median / two), bf16: round(peer.bf16.median / two) },
    },
  };
}

function printReport({ results, roofline, endToEnd, plain, peer, summary }: Report): void {
  const print = (line = ""): void => void process.stdout.write(`${line}\n`);
  print("| shape | images | threads | form | step, ms | min | max | resident, MiB |");
  print("| --- | --: | --: | --- | --: | --: | --: | --: |");
  for (const { shape, layers, images, threads, quantization, step_ms: ms, rss_mb: rss } of results) {
    const name = layers === undefined ? shape : `${shape}, ${layers} layers`;
    const form = quantization === "none" ? "fp32" : quantization;
    const cells = [name, images, threads, form, ms.median, ms.min, ms.max, rss];
    print(`| ${cells.join(" | ")} |`);
  }
  for (const shape of ["bundled", "ithq"] as const) {
    const { median, min, max } = plain[shape];
    print(`| ${shape}, plain graph | 1 | | fp32 | ${median} | ${min} | ${max} | |`);
  }
  if (!("skipped" in peer)) {
    for (const form of ["fp32", "bf16"] as const) {
      const { median, min, max } = peer[form];
      print(
        `| ithq, 2 layers, diffusers (torch ${peer.torch}) | 1 | | ${form} | ${median} | ${min} | ${max} | |`,
      );
    }
  }
  print(`\npeak of a large product: fp32 ${roofline.fp32_gops}, int8 ${roofline.int8_gops} GOP/s`);
  for (const { images, ours_s, plain_s, ratio } of endToEnd) {
    print(
      `${images} picture(s), 100 guided steps: ${ours_s} s; with the plain graph ${plain_s} s: ${ratio} x`,
    );
  }
  print(JSON.stringify(summary, null, 2));
}

function drawReport({ plain, peer, summary, results, threads }: Report): string {
  const fp32 = results.find(
    (one) =>
      one.shape === "ithq" && one.quantization === "none" && one.threads === threads && one.images === 1,
  );
  return drawBars("One guided step of the published shape, 2 of 36 layers, in milliseconds", [
    ...("skipped" in peer
      ? []
      : [
          { label: "diffusers, fp32", value: peer.fp32.median },
          { label: "diffusers, bf16", value: peer.bf16.median },
        ]),
    { label: "plain ONNX graph, fp32", value: plain.ithq.median },
    { label: "vqd, fp32", value: fp32?.step_ms.median ?? 0 },
    { label: "vqd, int8", value: summary.ithq_two_layers_ms },
  ]);
}
