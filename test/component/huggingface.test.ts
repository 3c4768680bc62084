// vqd pull, against a server on this machine: which files come, how a cut download goes on, and what is refused.

import { createHash } from "node:crypto";
import { spawnSync } from "node:child_process";
import { existsSync } from "node:fs";
import { mkdir, readdir, readFile, symlink, writeFile } from "node:fs/promises";
import type { IncomingMessage, ServerResponse } from "node:http";
import { createServer, type AddressInfo } from "node:net";
import { homedir } from "node:os";
import { join } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { DownloadError } from "../../gpu-worker/download/errors.ts";
import { readHubSettings } from "../../gpu-worker/huggingface/settings.ts";
import { pullCheckpoint, type PullOptions } from "../../gpu-worker/huggingface/pull.ts";
import { vqd, vqdIn } from "../support/cli.ts";
import { FakeHuggingFace } from "../support/huggingface-server.ts";
import { temporaryFolder, TINY_CHECKPOINT } from "../support/tiny.ts";

const TRANSFORMER = "transformer/diffusion_pytorch_model.safetensors";
const COMPONENT_FOLDERS = [
  "text_encoder",
  "transformer",
  "vqvae",
  "learned_classifier_free_sampling_embeddings",
];

let hub: FakeHuggingFace;
let dir: string;
beforeEach(async () => {
  hub = await FakeHuggingFace.start();
  dir = join(await temporaryFolder(), "model");
  for (const entry of await readdir(TINY_CHECKPOINT, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const content = await readFile(path);
    hub.files.set(path.slice(TINY_CHECKPOINT.length + 1), {
      content,
      large: entry.name.endsWith(".safetensors"),
    });
  }
  hub.files.set("README.md", { content: Buffer.from("# a model") });
});

const pull = (options: Partial<PullOptions> = {}): Promise<string[]> =>
  pullCheckpoint({ repo: "owner/model", dir, endpoint: hub.url, firstRetryMs: 1, ...options });

const filesThere = async (): Promise<string[]> => {
  const entries = await readdir(dir, { recursive: true, withFileTypes: true });
  return entries
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name).slice(dir.length + 1))
    .toSorted();
};

async function expectRefused(message: RegExp, options: Partial<PullOptions> = {}): Promise<void> {
  const error: unknown = await pull(options).catch((thrown: unknown) => thrown);
  expect(error).toBeInstanceOf(DownloadError);
  expect((error as Error).message).toMatch(message);
}

/** Where nothing listens any more. */
async function closedEndpoint(): Promise<string> {
  const server = createServer();
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  const { port } = server.address() as AddressInfo;
  await new Promise((resolve) => {
    server.close(resolve);
  });
  return `http://127.0.0.1:${port}`;
}

describe("pull", () => {
  it("brings a checkpoint that is equal to the server's, and nothing else", async () => {
    hub.files.set("transformer/diffusion_pytorch_model.bin", {
      content: Buffer.from("not needed"),
      large: true,
    });
    hub.files.set("transformer/diffusion_pytorch_model.fp16.bin", {
      content: Buffer.from("neither"),
      large: true,
    });
    hub.files.set("feature_extractor/config.json", { content: Buffer.from("{}") });
    hub.files.set("transformer/code.py", { content: Buffer.from("import os") });
    const seen: [number, number][] = [];
    const files = await pull({ onProgress: (done, total) => seen.push([done, total]) });
    expect(await filesThere()).toEqual(files.toSorted());
    expect(files).not.toContain("transformer/code.py");
    expect(files).not.toContain("transformer/diffusion_pytorch_model.bin");
    expect(new DiffusersCheckpoint(dir).version()).toBe(new DiffusersCheckpoint(TINY_CHECKPOINT).version());
    const last = seen.at(-1) ?? [0, 1];
    expect(last[0]).toBe(last[1]);
    expect(seen.every(([done], i) => done >= (seen[i - 1]?.[0] ?? 0))).toBe(true);
  });

  it("asks for nothing that is there and right, and again for what is damaged", async () => {
    await pull();
    await writeFile(join(dir, TRANSFORMER), "damaged");
    hub.requests.length = 0;
    await pull();
    expect(hub.requests.map(({ path }) => path)).toEqual([TRANSFORMER]);
    expect(new DiffusersCheckpoint(dir).version()).toBe(new DiffusersCheckpoint(TINY_CHECKPOINT).version());
  });

  it("takes the variant asked for where there is one, and .bin where there is no safetensors", async () => {
    for (const folder of COMPONENT_FOLDERS) {
      const stem = folder === "text_encoder" ? "model" : "diffusion_pytorch_model";
      const bin = folder === "text_encoder" ? "pytorch_model" : stem;
      const file = hub.files.get(`${folder}/${stem}.safetensors`);
      if (file === undefined) throw new Error(`no weights of ${folder}`);
      hub.files.delete(`${folder}/${stem}.safetensors`);
      hub.files.set(`${folder}/${bin}.bin`, file);
      if (folder !== "vqvae") hub.files.set(`${folder}/${bin}.fp16.bin`, file);
    }
    const weights = (await pull({ variant: "fp16" })).filter((path) => path.endsWith(".bin"));
    expect(weights).toEqual([
      "text_encoder/pytorch_model.fp16.bin",
      "transformer/diffusion_pytorch_model.fp16.bin",
      "vqvae/diffusion_pytorch_model.bin",
      "learned_classifier_free_sampling_embeddings/diffusion_pytorch_model.fp16.bin",
    ]);
    await expectRefused(/no files of the variant "bf16"/, { variant: "bf16" });
  });

  it("brings the files that an index names", async () => {
    const file = hub.files.get(TRANSFORMER);
    if (file === undefined) throw new Error("no weights");
    hub.files.delete(TRANSFORMER);
    hub.files.set("transformer/part-1.safetensors", file);
    const index = Buffer.from(JSON.stringify({ weight_map: { "out.weight": "part-1.safetensors" } }));
    hub.files.set(`${TRANSFORMER}.index.json`, { content: index });
    const files = await pull();
    expect(files).toContain("transformer/part-1.safetensors");
    expect(files).toContain(`${TRANSFORMER}.index.json`);
    const evil = Buffer.from(JSON.stringify({ weight_map: { "out.weight": "../../../evil.safetensors" } }));
    hub.files.set(`${TRANSFORMER}.index.json`, { content: evil });
    await expect(pull()).rejects.toThrow(/not a file beside it/);
  });

  /** Connections that are cut as soon as a byte of theirs is on the disk. */
  const held: ServerResponse[] = [];
  const cutHeld = (): void => {
    held.pop()?.destroy();
  };
  const sendPart = (path: string, request: IncomingMessage, response: ServerResponse): void => {
    hub.send(path, request, response, 100_000);
    held.push(response);
  };

  it("goes on within the same run where the connection was cut", async () => {
    let cuts = 0;
    hub.intercept = (path, request, response) => {
      if (path !== TRANSFORMER || cuts === 3) return false;
      cuts++;
      sendPart(path, request, response);
      return true;
    };
    await pull({ onProgress: cutHeld });
    const ranges = hub.requests.filter(({ path }) => path === TRANSFORMER).map(({ range }) => range);
    expect(ranges).toHaveLength(4);
    expect(ranges[0]).toBeUndefined();
    expect(ranges.slice(1).every((range) => /^bytes=[1-9]\d*-$/.test(range ?? ""))).toBe(true);
    expect(new DiffusersCheckpoint(dir).version()).toBe(new DiffusersCheckpoint(TINY_CHECKPOINT).version());
  });

  it("goes on in the next run where the last one ended", async () => {
    let cut = 0;
    hub.intercept = (path, request, response) => {
      if (path !== TRANSFORMER) return false;
      if (cut++ === 0) sendPart(path, request, response);
      else response.destroy();
      return true;
    };
    await expectRefused(new RegExp(`${TRANSFORMER.replaceAll(".", "\\.")}: `), { onProgress: cutHeld });
    expect(await filesThere()).toContainEqual(expect.stringMatching(/safetensors\.[0-9a-f]{12}\.part$/));
    hub.intercept = () => false;
    hub.requests.length = 0;
    await pull();
    const [first] = hub.requests;
    expect(first).toMatchObject({ path: TRANSFORMER, range: expect.stringMatching(/^bytes=[1-9]\d*-$/) });
    expect(await filesThere()).not.toContainEqual(expect.stringMatching(/\.part$/));
  });

  it("starts again where the server does not resume, and waits where it is busy", async () => {
    let requests = 0;
    hub.intercept = (path, request, response) => {
      if (path !== TRANSFORMER) return false;
      requests++;
      if (requests === 1) sendPart(path, request, response);
      else if (requests === 2) response.writeHead(503).end();
      else response.writeHead(200).end(hub.files.get(path)?.content);
      return true;
    };
    await pull({ onProgress: cutHeld });
    expect(requests).toBe(3);
    expect(new DiffusersCheckpoint(dir).version()).toBe(new DiffusersCheckpoint(TINY_CHECKPOINT).version());
  });

  const partOf = (path: string): string => {
    const content = hub.files.get(path)?.content ?? new Uint8Array();
    return join(dir, `${path}.${createHash("sha256").update(content).digest("hex").slice(0, 12)}.part`);
  };
  const leavePart = async (content: Uint8Array): Promise<void> => {
    await mkdir(join(dir, "transformer"), { recursive: true });
    await writeFile(partOf(TRANSFORMER), content);
  };

  it.each<[string, (response: ServerResponse) => void]>([
    ["416", (response) => response.writeHead(416, { "content-range": "bytes */803808" }).end()],
    [
      "another range",
      (response) => response.writeHead(206, { "content-range": "bytes 0-9/803808" }).end("0123456789"),
    ],
  ])("starts over where the server answers a resumed download with %s", async (_, answer) => {
    await leavePart(hub.files.get(TRANSFORMER)?.content.subarray(0, 1_000) ?? new Uint8Array());
    hub.intercept = (path, request, response) => {
      if (path !== TRANSFORMER || request.headers.range === undefined) return false;
      answer(response);
      return true;
    };
    await pull();
    const ranges = hub.requests.filter(({ path }) => path === TRANSFORMER).map(({ range }) => range);
    expect(ranges).toEqual(["bytes=1000-", undefined]);
    expect(new DiffusersCheckpoint(dir).version()).toBe(new DiffusersCheckpoint(TINY_CHECKPOINT).version());
  });

  it("starts over where the beginning is damaged", async () => {
    await leavePart(new Uint8Array(1_000));
    await pull();
    expect(new DiffusersCheckpoint(dir).version()).toBe(new DiffusersCheckpoint(TINY_CHECKPOINT).version());
    expect(await filesThere()).not.toContainEqual(expect.stringMatching(/\.part$/));
  });

  it("copies files from the Hugging Face cache, unless they are damaged there", async () => {
    const cacheDir = await temporaryFolder();
    const blobs = join(cacheDir, "models--owner--model", "blobs");
    await mkdir(blobs, { recursive: true });
    const nameOf = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");
    for (const path of [TRANSFORMER, "text_encoder/model.safetensors"]) {
      const content = hub.files.get(path)?.content ?? new Uint8Array();
      await writeFile(join(blobs, nameOf(content)), path === TRANSFORMER ? content : content.toReversed());
    }
    const files = await pull({ cacheDir });
    const asked = hub.requests.map(({ path }) => path);
    expect(asked.toSorted()).toEqual(files.filter((path) => path !== TRANSFORMER).toSorted());
    expect(new DiffusersCheckpoint(dir).version()).toBe(new DiffusersCheckpoint(TINY_CHECKPOINT).version());
  });

  it("brings a tokenizer of either form, with its added tokens", async () => {
    hub.files.set("tokenizer/added_tokens.json", { content: Buffer.from("{}") });
    hub.files.set("tokenizer/tokenizer.json", { content: Buffer.from("{}") });
    hub.files.delete("tokenizer/merges.txt");
    const files = await pull();
    expect(files).toEqual(
      expect.arrayContaining(["tokenizer/added_tokens.json", "tokenizer/tokenizer.json"]),
    );
    hub.files.delete("tokenizer/tokenizer.json");
    await expectRefused(/it has no tokenizer\/merges\.txt/);
  });

  it("brings all shards of the variant asked for", async () => {
    const file = hub.files.get(TRANSFORMER);
    if (file === undefined) throw new Error("no weights");
    const shards = [1, 2].map((n) => `diffusion_pytorch_model.fp16-0000${n}-of-00002.safetensors`);
    const index = "transformer/diffusion_pytorch_model.safetensors.index.fp16.json";
    const weightMap = { "out.weight": shards[0], "out.bias": shards[1] };
    hub.files.set(index, { content: Buffer.from(JSON.stringify({ weight_map: weightMap })) });
    for (const shard of shards) hub.files.set(`transformer/${shard}`, file);
    const paths = shards.map((shard) => `transformer/${shard}`);
    expect(await pull({ variant: "fp16" })).toEqual(expect.arrayContaining([index, ...paths]));
    // Without other files, the variant is what there is.
    hub.files.delete(TRANSFORMER);
    expect(await pull()).toEqual(expect.arrayContaining([index, ...paths]));
  });

  it("passes on what the server says of a gated repository", async () => {
    hub.intercept = (_path, _request, response) => {
      response
        .writeHead(403, {
          "x-error-code": "GatedRepo",
          "x-error-message": "Access to model owner/model is restricted.",
        })
        .end();
      return true;
    };
    await expectRefused(
      new RegExp(
        `^${hub.url}/owner/model: Access to model owner/model is restricted\\. Accept its conditions`,
      ),
    );
  });

  it("keeps out of the way of another command that writes the folder", async () => {
    const lock = join(dir, "..", ".model.vqd-lock");
    await mkdir(dir, { recursive: true });
    // A process that is alive, and one that is not.
    await writeFile(lock, `${process.ppid}\n`);
    await expect(pull()).rejects.toThrow(
      new RegExp(`another vqd command \\(process ${process.ppid}\\) is writing to this folder; wait for it`),
    );
    expect(hub.requests).toEqual([]);
    const { pid } = spawnSync(process.execPath, ["--version"]);
    await writeFile(lock, `${pid}\n`);
    const pulling = pull();
    await expect(pull()).rejects.toThrow(/another vqd command/);
    await pulling;
    expect(existsSync(lock)).toBe(false);
  });

  it("sends the token, and says when one is needed", async () => {
    hub.token = "hf_secret";
    await expectRefused(/owner\/model: no such repository, or no access to it; a private one needs a token/);
    await expectRefused(/no access to it for this token/, { token: "hf_other" });
    await pull({ token: "hf_secret" });
    expect(hub.requests.every(({ authorization }) => authorization === "Bearer hf_secret")).toBe(true);
  });

  it("does not send the token to where a download is redirected", async () => {
    const store = await FakeHuggingFace.start();
    store.files.set(TRANSFORMER, hub.files.get(TRANSFORMER) ?? { content: new Uint8Array() });
    const other = store.url.replace("127.0.0.1", "localhost");
    hub.token = "hf_secret";
    hub.intercept = (path, request, response) => {
      if (path !== TRANSFORMER) return false;
      response.writeHead(302, { location: `${other}${request.url}` }).end();
      return true;
    };
    await pull({ token: "hf_secret" });
    expect(store.requests).toEqual([{ path: TRANSFORMER, range: undefined, authorization: undefined }]);
  });

  it("refuses what does not exist or is not a checkpoint of this kind", async () => {
    await expectRefused(/owner\/none: no such repository/, { repo: "owner/none" });
    await expectRefused(/no revision "v2" of it/, { revision: "v2" });
    await expectRefused(/cannot reach the Hugging Face Hub: .*ECONNREFUSED/, {
      endpoint: await closedEndpoint(),
    });
    hub.files.delete("vqvae/config.json");
    await expectRefused(/is not a checkpoint in the diffusers layout: it has no vqvae\/config\.json/);
    hub.files.set("vqvae/config.json", { content: Buffer.from("{}") });
    hub.files.set("model_index.json", { content: Buffer.from('{"_class_name":"StableDiffusionPipeline"}') });
    hub.requests.length = 0;
    await expect(pull()).rejects.toThrow(/_class_name: .*found "StableDiffusionPipeline"/);
    expect(hub.requests.some(({ path }) => path.endsWith(".safetensors"))).toBe(false);
  });

  it("refuses content of another hash, size or range, and files without a hash", async () => {
    const original = hub.files.get(TRANSFORMER) ?? { content: new Uint8Array() };
    const size = original.content.length;
    const lfs = (oid: string, bytes = size): Record<string, unknown> => ({ lfs: { oid, size: bytes } });
    hub.files.set(TRANSFORMER, { ...original, listed: lfs("0".repeat(64)) });
    await expectRefused(/does not have the expected hash/);
    hub.files.set(TRANSFORMER, { ...original, listed: lfs("0".repeat(64), size - 1) });
    await expectRefused(/is larger than the \d+ bytes that the server lists/);
    hub.files.set(TRANSFORMER, { ...original, large: false, listed: { oid: "x" } });
    await expectRefused(/no hash of transformer/);
    hub.files.set(TRANSFORMER, { ...original, listed: lfs("0".repeat(64), 2 ** 50) });
    await expectRefused(/\d+ bytes are needed, \d+ are free/);
    expect(await filesThere()).not.toContain(TRANSFORMER);
    hub.files.set("tokenizer/merges.txt", { content: Buffer.from("x"), listed: { oid: "0".repeat(40) } });
    await expectRefused(/merges\.txt: .*does not have the expected hash/);
  });

  it("writes nothing outside of its folder, wherever a link leads", async () => {
    const outside = await temporaryFolder();
    await mkdir(dir, { recursive: true });
    await symlink(outside, join(dir, "transformer"));
    await expectRefused(/transformer is a link out of .*; nothing is written there/);
    expect(await readdir(outside)).toEqual([]);
  });
});

describe("the Hugging Face settings", () => {
  it("are those of the Hugging Face tools", async () => {
    const home = await temporaryFolder();
    await writeFile(join(home, "token"), "hf_saved\n");
    expect(readHubSettings({ HF_HOME: home, HF_ENDPOINT: "http://mirror" })).toEqual({
      endpoint: "http://mirror",
      token: "hf_saved",
      cacheDir: join(home, "hub"),
    });
    expect(readHubSettings({ HF_HOME: home, HF_TOKEN: " hf_env " }).token).toBe("hf_env");
    expect(readHubSettings({ HF_HOME: home, HF_HUB_DISABLE_IMPLICIT_TOKEN: "1" }).token).toBeUndefined();
    expect(readHubSettings({ HF_HOME: "/none", HF_TOKEN_PATH: join(home, "token") }).token).toBe("hf_saved");
    expect(readHubSettings({ XDG_CACHE_HOME: "/cache" })).toEqual({
      endpoint: "https://huggingface.co",
      token: undefined,
      cacheDir: "/cache/huggingface/hub",
    });
    expect(readHubSettings({ HF_HUB_CACHE: "~/hub" }).cacheDir).toBe(join(homedir(), "hub"));
  });
});

describe("vqd pull", () => {
  it("uses the saved token, but not for a server given by --endpoint", async () => {
    const home = await temporaryFolder();
    await writeFile(join(home, "token"), "hf_secret");
    hub.token = "hf_secret";
    const env = { HF_HOME: home, HF_TOKEN: "" };
    expect(
      await vqdIn({ env: { ...env, HF_ENDPOINT: hub.url } }, "pull", "owner/model", "--dir", dir),
    ).toMatchObject({
      code: 0,
    });
    const args = ["pull", "owner/model", "--dir", dir, "--endpoint", hub.url];
    expect((await vqdIn({ env }, ...args)).stderr).toMatch(/a private one needs a token/);
  });

  it("downloads a checkpoint that can be used", async () => {
    const { code, stdout, stderr } = await vqd(
      "pull",
      "owner/model",
      "--dir",
      dir,
      "--endpoint",
      `${hub.url}/`,
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${dir}\n` });
    expect(stderr).toMatch(/pulling owner\/model [\d.]+\/[\d.]+ [\d.]+ MiB\/s\n/);
    expect(stderr).toMatch(/\n15 files\n$/);
  });

  it("says on one line why it cannot", async () => {
    const { code, stderr } = await vqd("pull", "owner/none", "--dir", dir, "--endpoint", hub.url);
    expect(code).toBe(1);
    expect(stderr).toBe('vqd: owner/none: no such repository, or no revision "main" of it\n');
  });
});
