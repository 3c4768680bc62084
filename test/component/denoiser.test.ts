// What a pass of the denoiser computes once for several rows, or leaves out, makes no difference to any bit.

import { describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { BUNDLED_MODEL } from "../../gpu-worker/config.ts";
import { ensureGraphs } from "../../gpu-worker/graph/cache.ts";
import { graphForm, CPU_QUANTIZATIONS } from "../../gpu-worker/graph/form.ts";
import { Denoiser } from "../../gpu-worker/pipeline/denoiser.ts";
import { TextConditioner } from "../../gpu-worker/pipeline/conditioning/text-conditioner.ts";
import { VQDiffusionPipeline } from "../../gpu-worker/pipeline/pipeline.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const CASES = CPU_QUANTIZATIONS.flatMap((quantization) => [
  { name: "tiny", model: TINY_CHECKPOINT, quantization, threads: 1 },
  { name: "bundled", model: BUNDLED_MODEL, quantization, threads: 2 },
]);

describe.each(CASES)("$name in $quantization, $threads threads", ({ model, quantization, threads }) => {
  it("gives a pixel the same bits whatever else is evaluated, and rows of one image those of two images", async () => {
    const checkpoint = new DiffusersCheckpoint(model);
    const form = graphForm("cpu", quantization);
    const graphs = ensureGraphs(checkpoint, checkpoint.version(), {
      cacheDir: await temporaryFolder(),
      form,
    });
    const options = { provider: "cpu", threads } as const;
    const text = await TextConditioner.load(checkpoint, graphs, options);
    const denoiser = await Denoiser.load(checkpoint, graphs, options);
    try {
      const { bosTokenId, eosTokenId, maxLength } = checkpoint.tokenizer;
      const ids = [bosTokenId, 320, ...new Array<number>(maxLength - 2).fill(eosTokenId)];
      const [prompt = text.unconditional] = await text.encode([ids]);
      const pixels = checkpoint.transformer.sample_size ** 2;
      const classes = checkpoint.transformer.num_vector_embeds - 1;
      const image = (step: number) => ({
        tokens: Uint16Array.from({ length: pixels }, (_, i) =>
          i % 3 === 0 ? classes : (i * step) % classes,
        ),
        timestep: step,
      });
      const all = Array.from({ length: pixels }, (_, position) => position);
      const expected = new Map<string, Buffer>();
      for (const [step, conditioning] of [
        [17, prompt],
        [17, text.unconditional],
        [60, prompt],
      ] as const) {
        const row = { image: 0, prompt: conditioning, evaluated: all };
        const { logProbs } = await denoiser.pass([image(step)], [row]);
        expect(logProbs.every(Number.isFinite)).toBe(true);
        expected.set(`${step} ${conditioning === prompt}`, bytes(logProbs));
      }

      const subsets = [[0], [pixels - 1], [3, 5, 6], all.filter((i) => i % 2 === 1), all];
      for (const [i, first] of subsets.entries()) {
        for (const second of subsets.slice(i)) {
          const rows = [
            { image: 0, prompt: text.unconditional, evaluated: first },
            { image: 0, prompt, evaluated: first },
            { image: 1, prompt, evaluated: second },
          ];
          const { logProbs, rowSize } = await denoiser.pass([image(17), image(60)], rows);
          for (const [row, { evaluated, prompt: conditioning, image: index }] of rows.entries()) {
            const whole = expected.get(`${index === 0 ? 17 : 60} ${conditioning === prompt}`);
            const size = classes * Float32Array.BYTES_PER_ELEMENT;
            const got = bytes(logProbs.subarray(row * rowSize, (row + 1) * rowSize));
            const isEqual = evaluated.every((position, place) =>
              got
                .subarray(place * size, (place + 1) * size)
                .equals(whole?.subarray(position * size, (position + 1) * size) ?? Buffer.alloc(0)),
            );
            expect(isEqual, `row ${row}, evaluated ${evaluated.length} beside ${second.length}`).toBe(true);
          }
        }
      }
    } finally {
      await Promise.all([text.release(), denoiser.release()]);
    }
  });
});

const bytes = (values: Float32Array): Buffer =>
  Buffer.from(values.buffer, values.byteOffset, values.byteLength);

describe.each([true, false])("with a graph that draws: %s", (drawsOnDevice) => {
  it("gives two passes that are under way at once what each gives by itself", async () => {
    const pipeline = await VQDiffusionPipeline.fromPretrained(TINY_CHECKPOINT, {
      cacheDir: await temporaryFolder(),
      drawsOnDevice,
      ownThreads: true,
    });
    try {
      const [prompt] = await pipeline.encodePrompt([pipeline.tokenize("a red cube").ids]);
      const negative = await pipeline.encodeNegativePrompt(null);
      const slotsOf = (seed: number) =>
        pipeline.prepareLatents(2).map((tokens, image) =>
          pipeline.makeSlot({
            tokens,
            image,
            seed,
            prompt: prompt ?? negative,
            negative,
            guidanceScale: 3,
            truncationRate: 0.9,
            numInferenceSteps: 8,
          }),
        );
      const alone = [slotsOf(1), slotsOf(2)];
      for (const slots of alone) await pipeline.denoise(slots);
      const [first, second] = [slotsOf(1), slotsOf(2)];
      let inFirst = pipeline.beginStep(first);
      for (let step = 1; step <= 8; step++) {
        const inSecond = pipeline.beginStep(second);
        (await inFirst)();
        if (step < 8) inFirst = pipeline.beginStep(first);
        (await inSecond)();
      }
      expect([first, second].map((slots) => slots.map(({ tokens }) => tokens))).toEqual(
        alone.map((slots) => slots.map(({ tokens }) => tokens)),
      );
    } finally {
      await pipeline.release();
    }
  });
});
