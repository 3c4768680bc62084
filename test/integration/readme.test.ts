// The examples of README and of the library's page run as they are written, but for the address.

import { execFile } from "node:child_process";
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterAll, beforeAll, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const run = promisify(execFile);
const ADDRESS = "http://127.0.0.1:8787";
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);

/** Code blocks of a page, in order. */
const blocks = (page: string, language: string): string[] =>
  [...readFileSync(join(REPO, page), "utf8").matchAll(/^```(\w+)\n(.*?)^```/gms)]
    .filter(([, kind]) => kind === language)
    .map(([, , code = ""]) => code);

const [, createKey = "", ...requests] = blocks("README.md", "sh");
const programs = blocks("README.md", "js");

let test: TestStack;
/** Stands for the repository's root, with what the examples find there; what they write is removed. */
let root: string;
const env: NodeJS.ProcessEnv = { ...process.env };

beforeAll(async () => {
  mkdirSync(join(REPO, ".vqd"), { recursive: true });
  root = await mkdtemp(join(REPO, ".vqd", "readme-"));
  for (const name of ["gpu-worker", "infra", "node_modules", "package.json", ".vqd"]) {
    symlinkSync(join(REPO, name), join(root, name));
  }
  test = await startTestStack({
    workers: 1,
    model: TINY_MODEL,
    workerEnv: { VQD_MODEL_NAME: "vqd/scenes" },
    edgeEnv: { DEFAULT_MODEL: "vqd/scenes" },
  });
  env["VQD_DATA"] = test.stack.dataDir;
  env["KEY"] = await shell(`${createKey}printf %s "$KEY"`);
});
afterAll(async () => {
  await test?.stop();
  await rm(root, { recursive: true, force: true });
});

async function shell(code: string): Promise<string> {
  const { stdout } = await run("sh", ["-euc", code.replaceAll(ADDRESS, test.url)], { cwd: root, env });
  return stdout;
}

async function program(code: string): Promise<string> {
  writeFileSync(join(root, "cat.mjs"), code.replaceAll(ADDRESS, test.url));
  const { stdout } = await run("npx", ["node", "cat.mjs"], { cwd: root, env });
  return stdout;
}

const image = (): Buffer => readFileSync(join(root, "cat.png"));

it("creates a key in a shell variable", () => {
  expect(createKey).toContain("export KEY=");
  expect(env["KEY"]).toMatch(/^vqd_[\w-]{32}$/);
});

it("waits for an image with curl, and follows every step", async () => {
  expect(requests).toHaveLength(2);
  const [wait = "", follow = ""] = requests;
  const prediction = JSON.parse(await shell(wait)) as { status: string; output: string[] };
  expect(prediction.status).toBe("succeeded");
  const file = Buffer.from(await (await fetch(prediction.output[0] ?? "")).arrayBuffer());
  expect(file.subarray(0, 4)).toEqual(PNG);
  const events = await shell(follow);
  expect(events).toMatch(/^event: step$/m);
  expect(events).toMatch(/^event: done$/m);
});

it("makes an image with openai", async () => {
  const code = programs.find((text) => text.includes('from "openai"'));
  await program(code ?? "");
  expect(image().subarray(0, 4)).toEqual(PNG);
});

it("makes an image with replicate", async () => {
  const code = programs.find((text) => text.includes('from "replicate"'));
  expect(await program(code ?? "")).toContain(`${test.url}/v1/files/`);
});

it("makes an image with the library", async () => {
  await rm(join(root, "cat.png"), { force: true });
  const [code = ""] = blocks("docs/library.md", "js");
  await program(code);
  expect(image().subarray(0, 4)).toEqual(PNG);
});
