// Models with tokenizers of their own: the edge uses what their workers announce, and rejects what does not fit.

import type { AddedToken } from "../../shared/tokenizer/added-tokens.ts";
import { ClassLabels } from "../../shared/tokenizer/class-labels.ts";
import {
  announcementJson,
  classesJson,
  classesText,
  vocabularyText,
} from "../../shared/tokenizer/announcement.ts";
import type { TokenizerTables } from "../../shared/tokenizer/clip.ts";
import { CLIP_MERGES_SHA256 } from "../../shared/tokenizer/vocabulary.ts";
import type { ModelManifest } from "../../shared/model.ts";
import { checkTokenizer } from "../../edge/tokenizer/announced.ts";
import { encodeHex } from "../../edge/util/bytes.ts";
import ownTokenizer from "../fixtures/tokenizer/own/tokenizer.json";
import reference from "../fixtures/tokenizer/reference.json";
import texts from "../fixtures/tokenizer/texts.json";
import { PLAYED_MODELS } from "../support/played-models.ts";
import { afterAll, beforeAll, expect, it, vi } from "vitest";
import { call, hubOf, MODEL, PlayedWorker } from "./support.ts";

/** Isolates refresh their list of models every three seconds, and hubs theirs every ten. */
const STALE = { timeout: 20_000, interval: 100 };
vi.setConfig({ testTimeout: 60_000 });

let worker: PlayedWorker;
beforeAll(async () => {
  worker = await PlayedWorker.start();
});
afterAll(async () => {
  await worker.close();
});

const compress = async (text: string): Promise<Uint8Array<ArrayBuffer>> =>
  new Uint8Array(
    await new Response(new Blob([text]).stream().pipeThrough(new CompressionStream("gzip"))).arrayBuffer(),
  );
/** A hash that the content cannot have. */
const OTHER = "0".repeat(64);
const sha256 = async (text: string): Promise<string> =>
  encodeHex(new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(text))));

const token = (id: number, content: string, flags: Partial<AddedToken> = {}): AddedToken => ({
  id,
  content,
  lstrip: false,
  rstrip: false,
  singleWord: false,
  normalized: false,
  ...flags,
});

/** Trained by transformers, see test/fixtures/tokenizer/make.py. */
const OWN: TokenizerTables = {
  vocabulary: {
    merges: ownTokenizer.model.merges.map((pair) => pair.join(" ")),
    symbols: Object.entries(ownTokenizer.model.vocab)
      .toSorted(([, a], [, b]) => a - b)
      .map(([symbol]) => symbol),
  },
  addedTokens: [token(0, "<|startoftext|>", { normalized: true }), token(1, "<|endoftext|>")],
  bosTokenId: 0,
  eosTokenId: 1,
  unkTokenId: 1,
};

/** CLIP's, whose vocabulary edges have. */
const CLIP: TokenizerTables = {
  vocabulary: { merges: [] },
  addedTokens: [token(49_406, "<|startoftext|>"), token(49_407, "<|endoftext|>")],
  bosTokenId: 49_406,
  eosTokenId: 49_407,
  unkTokenId: 49_407,
};

const manifest = (played: keyof typeof PLAYED_MODELS, mergesSha256: string): ModelManifest => ({
  ...MODEL,
  ...PLAYED_MODELS[played],
  tokenizer: { mergesSha256, maxLength: 64, padTokenId: 1 },
});

const padded = (model: ModelManifest, ids: readonly number[] = []): number[] =>
  Array.from({ length: model.tokenizer.maxLength }, (_, i) => ids[i] ?? model.tokenizer.padTokenId);

/** The token ids of `prompt` in the job that the edge makes of it. */
async function idsOf(model: ModelManifest, prompt: string): Promise<number[]> {
  const create = (): Promise<Response> =>
    call("/v1/predictions", { json: { model: model.name, input: { prompt } } });
  let response = await create();
  await expect
    .poll(async () => (response.status === 201 ? 201 : (response = await create()).status), STALE)
    .toBe(201);
  const { id } = await response.json<{ id: string }>();
  const { prompts } = await worker.take({ id }, model);
  await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
  const [ids = []] = prompts;
  return ids;
}

it("are served with the vocabulary that they announce", async () => {
  const model = manifest("own", await sha256(vocabularyText(OWN.vocabulary)));
  await worker.announce(model, await compress(announcementJson(OWN, false)));
  for (const text of ["foxes and dogs, in the snow.", "a house in the sea"]) {
    expect(await idsOf(model, text)).toEqual(padded(model, reference.ids.own[texts.indexOf(text)]));
  }
});

it("share CLIP's vocabulary, with added tokens of their own; a new announcement replaces them", async () => {
  const model = manifest("inverted", CLIP_MERGES_SHA256);
  model.tokenizer.padTokenId = 49_407;
  const tables = (...added: AddedToken[]): TokenizerTables => ({
    ...CLIP,
    addedTokens: [...CLIP.addedTokens, ...added],
  });
  await worker.announce(model, await compress(announcementJson(tables(token(49_408, "<cat-toy>")), true)));
  expect(await idsOf(model, "a <cat-toy>")).toEqual(padded(model, [49_406, 320, 49_408, 49_407]));
  await worker.announce(model, await compress(announcementJson(tables(token(49_409, "<cat-toy>")), true)));
  await expect
    .poll(() => idsOf(model, "a <cat-toy>"), STALE)
    .toEqual(padded(model, [49_406, 320, 49_409, 49_407]));
});

it("can be classes, which prompts give by name or label", async () => {
  const labels = new ClassLabels(
    300,
    new Map([
      [134, "crane"],
      [207, "golden retriever, retriever"],
      [217, "crane"],
    ]),
  );
  const mergesSha256 = await sha256(classesText(labels));
  const model: ModelManifest = {
    ...manifest("classes", mergesSha256),
    conditioning: "class",
    tokenizer: { mergesSha256, maxLength: 1, padTokenId: 0 },
  };
  await worker.announce(model, await compress(classesJson(labels)));
  expect(await idsOf(model, "Golden Retriever")).toEqual([207]);
  expect(await (await call(`/v1/models/${model.name}/classes`)).json()).toEqual({
    model: model.name,
    version: model.version,
    num_classes: 300,
    id2label: { 134: "crane", 207: "golden retriever, retriever", 217: "crane" },
  });
  expect((await call(`/v1/models/${MODEL.name}/classes`)).status).toBe(404);
  expect(await idsOf(model, "299")).toEqual([299]);
  const refused = async (input: object): Promise<unknown> => {
    const response = await call("/v1/predictions", { json: { model: model.name, input } });
    expect(response.status).toBe(422);
    return (await response.json<{ errors: unknown }>()).errors;
  };
  expect(await refused({ prompt: ["207", "wolf"] })).toEqual([
    { path: "input.prompt.1", message: "must be one of its 300 classes, by name or label" },
  ]);
  expect(await refused({ prompt: "crane" })).toEqual([
    { path: "input.prompt", message: "is the name of several classes; give one of the labels 134, 217" },
  ]);
  expect(await refused({ prompt: "300" })).toMatchObject([{ path: "input.prompt" }]);
  expect(await refused({ class_label: 300 })).toEqual([
    { path: "input.class_label", message: "must be one of its 300 classes, by name or label" },
  ]);
  expect(await refused({ class_label: 207, prompt: "crane" })).toEqual([
    { path: "input.class_label", message: "cannot be given together with prompt" },
  ]);
  expect(await refused({ class_label: -1 })).toMatchObject([{ path: "input.class_label" }]);
  expect(await refused({ seed: 7 })).toEqual([{ path: "input.prompt", message: "is required" }]);
  const labelled = await call("/v1/predictions", { json: { model: model.name, input: { class_label: 0 } } });
  expect(labelled.status).toBe(201);
  const first = await labelled.json<{ id: string; input: object }>();
  expect(first.input).toMatchObject({ prompt: "0" });
  expect(await worker.take(first, model)).toMatchObject({ prompts: [[0]] });
  // Another class from the start on, in place of the first.
  const forked = await call("/v1/predictions", {
    json: { model: model.name, input: { from: { prediction: first.id, step: 0 }, class_label: 207 } },
  });
  expect(forked.status).toBe(201);
  const second = await forked.json<{ id: string }>();
  expect(await worker.take(second, model)).toMatchObject({ prompts: [[207]] });
  for (const { id } of [first, second]) await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
  const byText = await call("/v1/predictions", { json: { model: MODEL.name, input: { class_label: 0 } } });
  expect((await byText.json<{ errors: unknown }>()).errors).toEqual([
    { path: "input.class_label", message: `must be omitted: ${MODEL.name} is not conditioned by class` },
  ]);
  expect(await refused({ prompt: "207", negative_prompt: "wolf", guidance_scale: 3 })).toMatchObject([
    { path: "input.negative_prompt" },
  ]);
  await expect(
    checkTokenizer({ ...model, conditioning: undefined }, await compress(classesJson(labels))),
  ).rejects.toThrow("has classes, unlike the manifest");
  await expect(checkTokenizer(model, await compress(announcementJson(OWN, false)))).rejects.toThrow(
    "lacks classes, unlike the manifest",
  );
  const hostile = await compress(JSON.stringify({ v: 1, classes: 2, names: [[0, "a"], [1]] }));
  await expect(checkTokenizer(model, hostile)).rejects.toThrow(
    "names: must be a list of at most 65536 labels",
  );
});

it("can be left out, for models that take no prompt: in each dialect it is refused by name, and may be empty or absent", async () => {
  const mergesSha256 = await sha256("");
  const model: ModelManifest = {
    ...manifest("unconditional", mergesSha256),
    conditioning: "none",
    tokenizer: { mergesSha256, maxLength: 1, padTokenId: 0 },
    defaults: { guidanceScale: 1 },
  };
  await worker.announce(model);
  const view = async () => (await call(`/v1/models/${model.name}`)).json<Record<string, unknown>>();
  await expect.poll(view, STALE).toMatchObject({
    conditioning: "none",
    limits: { max_prompt_tokens: 0 },
    defaults: { guidance_scale: 1 },
  });
  const create = (input: object): Promise<Response> =>
    call("/v1/predictions", { json: { model: model.name, input } });
  const response = await create({ seed: 7 });
  expect(response.status).toBe(201);
  const { id, input } = await response.json<{ id: string; input: object }>();
  expect(input).toMatchObject({ prompt: null, negative_prompt: null, guidance_scale: 1, seed: 7 });
  expect(await worker.take({ id }, model)).toMatchObject({
    prompts: [[0]],
    negativePrompt: null,
    guidanceScale: 1,
  });
  // What a prediction says of its input can be sent again, and its first state can be continued.
  for (const again of [input, { from: { prediction: id, step: 0 } }]) {
    const repeated = await create(again);
    expect(repeated.status).toBe(201);
    const created = await repeated.json<{ id: string }>();
    expect(await worker.take(created, model)).toMatchObject({ prompts: [[0]], seed: 7 });
    await call(`/v1/predictions/${created.id}/cancel`, { method: "POST" });
  }
  await call(`/v1/predictions/${id}/cancel`, { method: "POST" });

  const message = `must be omitted: ${model.name} takes no prompt`;
  const errorsOf = async (answer: Response): Promise<unknown> => {
    expect(answer.status).toBe(422);
    return (await answer.json<{ errors: unknown }>()).errors;
  };
  expect(await errorsOf(await create({ prompt: "fox" }))).toEqual([{ path: "input.prompt", message }]);
  expect(await errorsOf(await create({ prompt: ["fox"] }))).toEqual([{ path: "input.prompt", message }]);
  expect(await errorsOf(await create({ negative_prompt: "fox" }))).toEqual([
    { path: "input.negative_prompt", message },
  ]);
  expect(await errorsOf(await create({ guidance_scale: 2 }))).toMatchObject([
    { path: "input.guidance_scale" },
  ]);

  const openai = (body: object): Promise<Response> =>
    call("/v1/images/generations", { json: { model: model.name, ...body } });
  const refused = await openai({ prompt: "fox" });
  expect(refused.status).toBe(400);
  expect(await refused.json()).toMatchObject({ error: { param: "prompt", message: `prompt ${message}` } });
  const huggingface = await call(`/models/${model.name}`, { json: { inputs: "fox" } });
  expect(huggingface.status).toBe(422);
  expect(await huggingface.json()).toMatchObject({ error: `inputs ${message}` });

  // And models with prompts need them.
  const needs = async (body: object): Promise<unknown> =>
    (await call("/v1/images/generations", { json: { model: MODEL.name, ...body } })).json();
  expect(await needs({})).toMatchObject({ error: { param: "prompt", message: "prompt is required" } });
  expect(await needs({ prompt: " " })).toMatchObject({
    error: { param: "prompt", message: "prompt must not be empty" },
  });
  const empty = await call(`/models/${MODEL.name}`, { json: { inputs: "" } });
  expect(await empty.json()).toMatchObject({ error: "inputs must not be empty" });

  await expect(checkTokenizer(model, await compress(announcementJson(OWN, false)))).rejects.toThrow(
    "is announced, but the model takes no prompt",
  );
  await expect(checkTokenizer(model, new Uint8Array())).resolves.toBeUndefined();
});

const clipWith = (...addedTokens: unknown[]): string =>
  JSON.stringify({
    ...(JSON.parse(announcementJson(CLIP, true)) as object),
    addedTokens,
  });
const SHARED_MERGES = ["xx yy"];

/** What is wrong, the hash in the manifest, what is attached to that, and what is said. */
type Refusal = [what: string, mergesSha256: string, attached: () => Promise<Uint8Array>, said: RegExp];

it.each<Refusal>([
  ["without its vocabulary", OTHER, () => Promise.resolve(new Uint8Array()), /does not announce it/],
  ["with another vocabulary", OTHER, () => compress(announcementJson(OWN, false)), /the manifest says 000/],
  ["with CLIP's instead of its own", OTHER, () => compress(announcementJson(OWN, true)), /has the hash 9fd6/],
  [
    "that is not compressed",
    CLIP_MERGES_SHA256,
    () => Promise.resolve(new Uint8Array(100)),
    /cannot be decompressed/,
  ],
  [
    "that is cut",
    CLIP_MERGES_SHA256,
    async () => (await compress(announcementJson(CLIP, true))).slice(0, -9),
    /cannot be decompressed/,
  ],
  [
    "that is too large",
    CLIP_MERGES_SHA256,
    () => Promise.resolve(new Uint8Array(786_433)),
    /has 786433 bytes; the limit is 786432/,
  ],
  ["of a later release", CLIP_MERGES_SHA256, () => compress('{"v":2}'), /tokenizer: v: /],
  [
    "that decompresses to far too much",
    CLIP_MERGES_SHA256,
    () => compress(`{"v":1${" ".repeat(64 * 1024 * 1024)}}`),
    /more than the limit of 4194304/,
  ],
  [
    "that is nested a million deep",
    CLIP_MERGES_SHA256,
    () => compress("[".repeat(1e6) + "]".repeat(1e6)),
    /tokenizer: /,
  ],
  [
    "with two million merges, all wrong",
    OTHER,
    () => compress(`{"v":1,"vocabulary":{"merges":[${"1,".repeat(1_900_000)}1]}}`),
    /a list of at most 65536 pairs of symbols/,
  ],
  [
    "with two million added tokens, all wrong",
    CLIP_MERGES_SHA256,
    () => compress(clipWith().replace('"addedTokens":[]', `"addedTokens":[${"1,".repeat(1_900_000)}1]`)),
    /addedTokens/,
  ],
  [
    "with a hundred thousand unknown fields",
    CLIP_MERGES_SHA256,
    () => compress(clipWith(Object.fromEntries(Array.from({ length: 1e5 }, (_, i) => [`field${i}`, i])))),
    /^.{1,520}$/s,
  ],
  [
    "whose merges join unknown symbols",
    await sha256(vocabularyText({ merges: SHARED_MERGES })),
    () => compress(announcementJson({ ...OWN, vocabulary: { merges: SHARED_MERGES } }, false)),
    /merge 1, "xx yy", does not join two known symbols/,
  ],
  [
    "with an added token of nothing",
    CLIP_MERGES_SHA256,
    () => compress(clipWith(token(0, ""))),
    /addedTokens: 0: content: /,
  ],
  [
    "with two tokens of one spelling",
    CLIP_MERGES_SHA256,
    () => compress(clipWith(token(0, "<a>"), token(1, "<a>"))),
    /"<a>" is spelled like another one/,
  ],
])("are refused if their tokenizer is announced %s", async (_, mergesSha256, attached, said) => {
  const announcement = new Uint8Array(await attached());
  await expect(checkTokenizer(manifest("refused", mergesSha256), announcement)).rejects.toThrow(said);
});

it("are not served then, and others notice nothing", async () => {
  const refused = async (): Promise<number> => {
    const samples = await hubOf("test").metrics();
    return samples.find(({ metric }) => metric === "vqd_hub_manifests_refused_total")?.value ?? -1;
  };
  const before = await refused();
  const model = manifest("refused", OTHER);
  await worker.announce(model, await compress(announcementJson(OWN, false)));
  await expect.poll(refused, STALE).toBe(before + 1);
  expect((await call(`/v1/models/${model.name}`)).status).toBe(404);
  expect((await call(`/v1/models/${MODEL.name}`)).status).toBe(200);
});

it("make a prompt slow for nobody: long merges, many long added tokens, white space to strip", async () => {
  const model = manifest("hostile", "");
  // Each merge adds an a to the longest symbol, so that a long word takes as many as there can be.
  const merges = Array.from({ length: 1_000 }, (_, i) => `${"a".repeat(i + 1)} a`);
  const tables: TokenizerTables = {
    vocabulary: { merges },
    addedTokens: [
      token(2, " ", { lstrip: true, rstrip: true }),
      ...Array.from({ length: 999 }, (_, i) =>
        token(3 + i, `${"a".repeat(255 - (i % 255))}${String.fromCharCode(0x100 + i)}`),
      ),
    ],
    bosTokenId: 0,
    eosTokenId: 1,
    unkTokenId: 1,
  };
  model.tokenizer.mergesSha256 = await sha256(vocabularyText(tables.vocabulary));
  await worker.announce(model, await compress(announcementJson(tables, false)));
  const spaces = await idsOf(model, `${" ".repeat(3_999)}b`);
  expect(spaces.slice(0, 64)).toEqual([0, ...Array<number>(63).fill(2)]);
  const [, first] = await idsOf(model, "a".repeat(4_000));
  expect(first).toBe(512);
});

it("are built once for all requests that come at once, and again after others took their place", async () => {
  const pairs = await Promise.all(
    (["own", "ownToo", "inverted", "hostile", "refused"] as const).map(async (played, i) => {
      const tables = { ...OWN, unkTokenId: i };
      const model = manifest(played, await sha256(vocabularyText(OWN.vocabulary)));
      await worker.announce(model, await compress(announcementJson(tables, false)));
      return model;
    }),
  );
  const text = "a house in the sea";
  const expected = reference.ids.own[texts.indexOf(text)];
  for (const model of [...pairs, ...pairs]) {
    await expect.poll(() => idsOf(model, text), STALE).toEqual(padded(model, expected));
  }
  const together = await Promise.all(
    Array.from({ length: 8 }, () =>
      call("/v1/predictions", { json: { model: pairs[0]?.name, input: { prompt: text } } }),
    ),
  );
  for (const response of together) {
    expect(response.status).toBe(201);
    const { id } = await response.json<{ id: string }>();
    await call(`/v1/predictions/${id}/cancel`, { method: "POST" });
  }
});
