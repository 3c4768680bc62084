// What the playground suggests: `npx node infra/suggestions.ts` makes the pictures anew, by the bundled model through the service.
//
// The prompts are the examples of the model's card, all with the same seed and settings: none is chosen by how it came out.

import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Stack, startStack } from "./stack/stack.ts";
import { REPO } from "./stack/paths.ts";

export const SUGGESTIONS = join(REPO, "edge", "pages", "suggestions");

/** That of the repository's other examples, too. */
const SEED = 7;

interface Palette {
  readonly mask: number;
  readonly latent_width: number;
  readonly latent_height: number;
  readonly rgb: string;
}
interface Prediction {
  readonly status: string;
  readonly output: readonly string[];
  readonly metrics: { readonly total_steps: number };
  readonly urls: { readonly events: string };
}

async function makeSuggestions({ url, apiKey }: Stack): Promise<void> {
  const ask = async (path: string, body?: unknown): Promise<Response> => {
    const response = await fetch(new URL(path, url), {
      headers: {
        authorization: `Bearer ${apiKey}`,
        ...(body === undefined ? {} : { "content-type": "application/json", prefer: "wait" }),
      },
      ...(body === undefined ? {} : { method: "POST", body: JSON.stringify(body) }),
    });
    if (!response.ok) throw new Error(`${path}: ${response.status} ${await response.text()}`);
    return response;
  };
  const read = async <T>(path: string): Promise<T> => (await (await ask(path)).json()) as T;

  const { data } = await read<{
    data: { id: string; latest_version: { id: string }; card: { examples: string[] } }[];
  }>("/v1/models");
  const [model] = data;
  if (model === undefined) throw new Error("the service has no model");
  const palette = await read<Palette>(`/v1/models/${model.id}/palette`);
  const suggestions = [];
  let steps = 0;
  for (const [i, prompt] of model.card.examples.entries()) {
    const input = { prompt, seed: SEED, output_format: "webp" };
    const prediction = (await (
      await ask("/v1/predictions", { model: model.id, input })
    ).json()) as Prediction;
    const [image] = prediction.output;
    if (prediction.status !== "succeeded" || image === undefined) throw new Error(`${prompt}: failed`);
    const file = `${String(i + 1).padStart(2, "0")}.webp`;
    const path = new URL(image).pathname;
    writeFileSync(join(SUGGESTIONS, file), Buffer.from(await (await ask(path)).arrayBuffer()));
    const states = statesOf(await (await ask(new URL(prediction.urls.events).pathname)).text());
    const order = settledAt(states);
    steps = prediction.metrics.total_steps;
    suggestions.push({ prompt, seed: SEED, file, tokens: [...(states.at(-1) ?? [])], order });
    console.log(file, prompt);
  }
  const { mask, latent_width: width, latent_height: height } = palette;
  // Only the classes that occur, the most frequent first.
  const counts = Map.groupBy(
    suggestions.flatMap(({ tokens }) => tokens),
    (token) => token,
  );
  const used = [...counts].toSorted(([, a], [, b]) => b.length - a.length).map(([token]) => token);
  const colours = Buffer.from(palette.rgb, "base64");
  const indexOf = new Map(used.map((token, i) => [token, i]));
  const list = {
    model: model.id,
    version: model.latest_version.id,
    steps,
    mask,
    width,
    height,
    rgb: Buffer.concat(used.map((token) => colours.subarray(3 * token, 3 * token + 3))).toString("base64"),
    suggestions: suggestions.map(({ prompt, seed, file, tokens, order }) => ({
      prompt,
      seed,
      file,
      tokens: tokens.map((token) => digits(indexOf.get(token) ?? 0, 2)).join(""),
      order: [...order].map((step) => digits(step, 1)).join(""),
    })),
  };
  writeFileSync(join(SUGGESTIONS, "suggestions.json"), `${JSON.stringify(list)}\n`);
}

const DIGITS = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

/** A number in `count` digits of base 64. Unlike base64 of bytes, equal numbers are equal texts, which compress. */
function digits(value: number, count: number): string {
  if (value >= 64 ** count) throw new Error(`${value} has more than ${count} digits`);
  return (count > 1 ? digits(Math.floor(value / 64), count - 1) : "") + DIGITS.charAt(value % 64);
}

/** The tokens after each step, from an event stream. */
function statesOf(stream: string): Uint16Array[] {
  return [...stream.matchAll(/^event: step\ndata: (.*)$/gm)].map(([, data = ""]) => {
    const { tokens } = JSON.parse(data) as { tokens: string };
    const bytes = Uint8Array.from(Buffer.from(tokens, "base64"));
    return new Uint16Array(bytes.buffer);
  });
}

/** For each token the step, from 1, after which it does not change any more. */
function settledAt(states: readonly Uint16Array[]): Uint8Array {
  const last = states.at(-1) ?? new Uint16Array();
  return Uint8Array.from(last, (token, i) => states.findLastIndex((state) => state[i] !== token) + 2);
}

if (import.meta.main) {
  mkdirSync(SUGGESTIONS, { recursive: true });
  const dataFolder = mkdtempSync(join(tmpdir(), "vqd-suggestions-"));
  const cache = join(REPO, ".vqd", "cache");
  try {
    await using stack = await startStack({ workers: 1, data: dataFolder, workerEnv: { VQD_CACHE: cache } });
    await makeSuggestions(stack);
  } finally {
    rmSync(dataFolder, { recursive: true, force: true });
  }
}
