// The suite of `npm run bench`: all cases in turns, each in a process of its own, and what they come to.

import { writeFileSync } from "node:fs";
import { join } from "node:path";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import type { Quantization } from "../../gpu-worker/graph/form.ts";
import type { ChildCase, ChildResult } from "./child.ts";
import { measureEndToEnd } from "./end-to-end.ts";
import { runScript, workFolder } from "./interrupt.ts";
import { asLine, describeMachine } from "./machine.ts";
import { measureDiffusers, type PeerDurations } from "./peers.ts";
import { drawReport, printReport, summarise } from "./report.ts";
import { measureRoofline, stepOperations } from "./roofline.ts";
import type { Shape, SuiteCase } from "./step-case.ts";

export interface SuiteOptions {
  readonly threads: number;
  readonly repeats: number;
  /** Every case is measured in each round: what else the machine does meanwhile meets all of them alike. */
  readonly rounds: number;
  readonly python: string;
  readonly json: boolean;
  readonly plot: string | undefined;
}

function suiteCases(threads: number): SuiteCase[] {
  const ours = (shape: Shape, images: number, quantization: Quantization, count = threads): SuiteCase => ({
    shape,
    form: "ours",
    images,
    guidance: true,
    threads: count,
    quantization,
    step: "middle",
  });
  const plain = (shape: Shape): SuiteCase => ({ ...ours(shape, 1, "none"), form: "plain" });
  return [
    ...[1, 2, 4, 8, 16].map((images) => ours("bundled", images, "int8")),
    ...[1, 8].map((images) => ours("bundled", images, "none")),
    plain("bundled"),
    ours("ithq, 2 layers", 1, "int8"),
    { ...ours("ithq, 2 layers", 1, "int8"), step: "last" },
    ours("ithq, 2 layers", 1, "none"),
    plain("ithq, 2 layers"),
    ours("ithq, 4 layers", 1, "int8"),
    ...(threads > 1 ? [ours("bundled", 1, "int8", 1), ours("ithq, 2 layers", 1, "int8", 1)] : []),
  ];
}

const modelOf = (work: string, shape: Shape): string =>
  shape === "bundled" ? BUNDLED_MODEL : join(work, shape.replaceAll(/\W+/g, "-"));

/** Writes the checkpoints and builds the graphs that the cases need. */
async function prepare(work: string, cases: readonly SuiteCase[]): Promise<void> {
  const needed = new Set(cases.map(({ shape, quantization }) => JSON.stringify({ shape, quantization })));
  const written = new Set<Shape>();
  for (const text of needed) {
    const { shape, quantization } = JSON.parse(text) as Pick<SuiteCase, "shape" | "quantization">;
    const layers = shape === "bundled" || written.has(shape) ? [] : [/\d+/.exec(shape)?.[0] ?? ""];
    written.add(shape);
    const script = join(import.meta.dirname, "prepare.ts");
    await runScript(script, modelOf(work, shape), join(work, "cache"), quantization, ...layers);
  }
}

async function runCase(work: string, one: SuiteCase, repeats: number): Promise<ChildResult> {
  const { form, shape, ...settings } = one;
  const common = { model: modelOf(work, shape), cacheDir: join(work, "cache"), repeats };
  const child: ChildCase =
    form === "plain"
      ? { ...common, cacheDir: join(work, "plain"), plain: true, threads: one.threads }
      : { ...common, ...settings };
  const script = join(import.meta.dirname, "child.ts");
  return JSON.parse(await runScript(script, JSON.stringify(child))) as ChildResult;
}

/** Runs everything, with progress on stderr; writes the report to stdout and, if asked, a plot. */
export async function runSuite({
  threads,
  repeats,
  rounds,
  python,
  json,
  plot,
}: SuiteOptions): Promise<void> {
  const note = (line: string): void => void process.stderr.write(`${line}\n`);
  const { path: work, remove } = workFolder("vqd-suite-");
  try {
    const cases = suiteCases(threads);
    note("writing checkpoints and graphs");
    await prepare(work, cases);
    const peerShape = modelOf(work, "ithq, 2 layers");
    const { transformer, tokenizer } = new DiffusersCheckpoint(peerShape);
    const textLength = tokenizer.maxLength;
    const results = cases.map((one) => ({ one, durations: [] as number[], rss: 0 }));
    const peer: PeerDurations = { fp32: [], bf16: [] };
    const deepPeer: PeerDurations = { fp32: [], bf16: [] };
    const roofline = { fp32_gops: 0, int8_gops: 0 };
    let torch: string | undefined;
    let skipped: string | undefined;
    for (let round = 1; round <= rounds; round++) {
      for (const result of results) {
        const { form, shape, images, quantization } = result.one;
        note(`round ${round} of ${rounds}: ${shape}, ${form}, ${quantization}, ${images} image(s)`);
        const { durations, rss_mb } = await runCase(work, result.one, repeats);
        result.durations.push(...durations);
        result.rss = Math.max(result.rss, rss_mb);
      }
      note(`round ${round} of ${rounds}: roofline and diffusers`);
      const peak = await measureRoofline(threads, 5);
      roofline.fp32_gops = Math.max(roofline.fp32_gops, peak.fp32_gops);
      roofline.int8_gops = Math.max(roofline.int8_gops, peak.int8_gops);
      if (skipped !== undefined) continue;
      for (const [layers, durations] of [
        [2, peer],
        [4, deepPeer],
      ] as const) {
        const config = { ...transformer, num_layers: layers };
        const measured = await measureDiffusers(python, config, { textLength, threads, repeats: 3 });
        if ("skipped" in measured) {
          skipped = measured.skipped;
          note(`diffusers is skipped: ${skipped}`);
          break;
        }
        torch = measured.torch;
        durations.fp32.push(...measured.fp32);
        durations.bf16.push(...measured.bf16);
      }
    }
    note("whole images");
    const endToEnd = await measureEndToEnd(join(work, "plain"), threads);
    const report = summarise({
      threads,
      roofline,
      results,
      endToEnd,
      peer: torch === undefined ? { skipped: skipped ?? "" } : { torch, ...peer, deep: deepPeer },
      // Rounded up by the denoiser; in this step far fewer are.
      operations: stepOperations(transformer, { asked: transformer.sample_size ** 2 / 16, textLength }),
    });
    if (json) {
      process.stdout.write(`${JSON.stringify({ machine: describeMachine(), ...report })}\n`);
    } else {
      process.stdout.write(`${asLine(describeMachine())}\n\n`);
      printReport(report);
    }
    if (plot !== undefined) writeFileSync(plot, drawReport(report, asLine(describeMachine())));
  } finally {
    remove();
  }
}
