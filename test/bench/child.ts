// `node child.ts JSON`: one case of the suite in a process of its own; prints its durations as JSON.

import { PlainModel } from "./plain.ts";
import { durationsOf, measureStep, residentMb, type StepCase } from "./step-case.ts";

/** A step of ours, or, without an image count, one guided image's of the plain graph. */
export type ChildCase = (StepCase | { readonly plain: true; readonly threads: number }) & {
  readonly model: string;
  readonly cacheDir: string;
  readonly repeats: number;
};

export interface ChildResult {
  readonly durations: number[];
  readonly rss_mb: number;
}

async function measurePlain({ model, cacheDir, threads, repeats }: ChildCase): Promise<ChildResult> {
  const plain = await PlainModel.load(model, cacheDir, threads);
  const tokens = new Uint16Array(plain.pixels).map((_, i) => i % 100);
  const text = Float32Array.from({ length: plain.textSize }, (_, i) => Math.sin(i));
  const durations = await durationsOf(repeats, () => plain.predict([tokens, tokens], 50, [text, text]));
  await plain.release();
  return { durations, rss_mb: residentMb() };
}

const settings = JSON.parse(process.argv[2] ?? "") as ChildCase;
const result =
  "plain" in settings
    ? await measurePlain(settings)
    : await measureStep(settings.model, settings.cacheDir, settings);
process.stdout.write(JSON.stringify(result));
