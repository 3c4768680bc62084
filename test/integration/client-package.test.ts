// @vqd/client as it is published: packed, installed into a project of its own, type-checked there, and run.

import { execFile } from "node:child_process";
import { cp, mkdir, mkdtemp, readdir, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { VqdClient, VqdError } from "../../edge/pages/client/index.js";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const run = promisify(execFile);
const PACKAGE = join(REPO, "edge", "pages", "client");
const PROGRAM = `import { VqdClient, VqdError, pixelsOf, type Prediction, type PredictionEvent } from "@vqd/client";
const client = new VqdClient({ baseUrl: process.argv[2] ?? "", apiKey: process.argv[3] ?? null });
const made: Prediction = await client.create({ prompt: "a tree", num_inference_steps: 3 }, { priority: "high" });
const palette = await client.palette(made.model, made.version);
for await (const event of client.events(made) satisfies AsyncIterable<PredictionEvent>) {
  if (event.type === "step") console.log(event.data.step, pixelsOf(event.data.tokens[0]!, palette).length);
}
const wrong = await client.create({ prompt: "a", guidance_scale: 99 }).catch((error: unknown) => error);
if (wrong instanceof VqdError) console.log(wrong.errors.map(({ path }) => path).join());
`;

let test: TestStack;
let client: VqdClient;
beforeAll(async () => {
  test = await startTestStack({ model: TINY_MODEL });
  client = new VqdClient({ baseUrl: test.url, apiKey: test.apiKey });
});
afterAll(() => test.stop());

describe("against a running service", () => {
  it("follows a prediction with its tokens, from any event on", async () => {
    const prediction = await client.create({ prompt: "a tree", num_inference_steps: 4, num_outputs: 2 });
    const events = await Array.fromAsync(client.events(prediction));
    const steps = events.filter((event) => event.type === "step");
    expect(steps.map(({ data }) => data.step)).toEqual([1, 2, 3, 4]);
    const { mask, width, height } = await client.palette(prediction.model, prediction.version);
    for (const { data } of steps) {
      expect(data.tokens.map(({ length }) => length)).toEqual([width * height, width * height]);
      const masked = data.tokens.flatMap((tokens) => [...tokens]).filter((token) => token === mask);
      expect(masked).toHaveLength(data.masked);
    }
    const output = events.find((event) => event.type === "output");
    expect((await fetch(client.url(output?.data.url ?? ""))).status).toBe(200);
    expect(events.at(-1)).toMatchObject({ type: "done", data: { status: "succeeded" } });
    const after = events[2]?.id ?? 0;
    expect(await Array.fromAsync(client.events(prediction, { after }))).toEqual(events.slice(3));
    expect(await client.get(prediction.id)).toMatchObject({ status: "succeeded" });
    await client.delete(prediction.id);
    await expect(client.get(prediction.id)).rejects.toBeInstanceOf(VqdError);
  });

  it("forks a prediction from one of its steps", async () => {
    const steps = async (prediction: { id: string }) =>
      (await Array.fromAsync(client.events(prediction))).filter((event) => event.type === "step");
    const first = await client.create({ prompt: "a tree", num_inference_steps: 4, seed: 7 });
    const made = await steps(first);
    const fork = await client.create({
      prompt: "a house",
      num_inference_steps: 4,
      from: { prediction: first.id, step: 2 },
    });
    const others = await steps(fork);
    expect(others.map(({ data }) => data.step)).toEqual([2, 3, 4]);
    expect(others[0]?.data.tokens).toEqual(made[1]?.data.tokens);
  });

  it("the same idempotency key gives the same prediction", async () => {
    const create = () =>
      client.create({ prompt: "a tree" }, { idempotencyKey: "mine", model: "vqd/checkpoint" });
    const { id } = await create();
    expect((await create()).id).toBe(id);
    expect((await client.cancel(id)).status).toMatch(/canceled|aborted|succeeded/);
  });

  it("names the fields that are wrong", async () => {
    await expect(client.create({ prompt: "a", guidance_scale: 99 })).rejects.toMatchObject({
      status: 422,
      errors: [{ path: "input.guidance_scale", message: "must be at most 20" }],
    });
  });

  it("the example draws in the terminal", async () => {
    const example = join(REPO, "docs", "examples", "watch.js");
    const env = { ...process.env, KEY: test.apiKey, IMAGES_URL: test.url };
    const { stdout } = await run(process.execPath, [example, "a tree"], { env });
    expect(stdout).toMatch(/step 1 of \d+\n/);
    expect(stdout).toMatch(/http:\S+\.png\nsucceeded\n$/);
  });
});

describe("packed", () => {
  let folder: string;
  beforeAll(async () => {
    folder = await mkdtemp(join(tmpdir(), "vqd-client-"));
  });
  afterAll(() => rm(folder, { recursive: true, force: true }));

  it("has what it needs and no more, types included, and runs by itself", async () => {
    const { stdout } = await run(
      "npm",
      ["pack", "--json", "--ignore-scripts=false", "--pack-destination", folder],
      { cwd: PACKAGE },
    );
    expect(stdout).toContain('"@vqd/client"');
    expect(await readdir(PACKAGE)).not.toContain("types");
    const [archive = ""] = await readdir(folder);
    await run("tar", ["-xzf", archive], { cwd: folder });
    const files = await readdir(join(folder, "package"), { recursive: true });
    expect(files.filter((name) => !name.startsWith("types")).toSorted()).toEqual(
      [
        "LICENSE",
        "README.md",
        "package.json",
        "client.js",
        "error.js",
        "events.js",
        "index.js",
        "pixels.js",
        "sse.js",
      ].toSorted(),
    );
    const installed = join(folder, "app", "node_modules", "@vqd", "client");
    await mkdir(installed, { recursive: true });
    await cp(join(folder, "package"), installed, { recursive: true });
    const program = join(folder, "app", "program.mts");
    await writeFile(program, PROGRAM);
    const tsc = join(REPO, "node_modules", ".bin", "tsc");
    for (const resolution of [
      ["--module", "nodenext"],
      ["--module", "esnext", "--moduleResolution", "bundler"],
    ]) {
      const strict = ["--noEmit", "--strict", "--target", "es2024", "--lib", "es2024,dom,dom.asynciterable"];
      const types = ["--types", "node", "--typeRoots", join(REPO, "node_modules", "@types")];
      const args = [...resolution, ...strict, ...types, program];
      const checked = await run(tsc, args, { cwd: join(folder, "app") }).catch(
        (error: { stdout: string }) => error,
      );
      expect(checked.stdout).toBe("");
    }
    const ran = await run(process.execPath, [program, test.url, test.apiKey]);
    expect(ran.stdout).toBe("1 256\n2 256\n3 256\ninput.guidance_scale\n");
  });
});
