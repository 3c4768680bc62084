// vqd pull of what is not in diffusers' layout for texts: other models, files at any URL, and the original's, from their place or a mirror.

import { createHash } from "node:crypto";
import { readdir, readFile, writeFile } from "node:fs/promises";
import { join, relative } from "node:path";
import { beforeEach, describe, expect, it } from "vitest";
import { convertOriginal } from "../../gpu-worker/checkpoint/original/convert.ts";
import {
  PUBLISHED_MODELS,
  type PublishedFile,
  type PublishedModel,
} from "../../gpu-worker/checkpoint/original/published.ts";
import { inspectCheckpoint } from "../../gpu-worker/checkpoint/inspect.ts";
import { pullOriginal, type PullOriginalOptions } from "../../gpu-worker/huggingface/pull-original.ts";
import { pullCheckpoint } from "../../gpu-worker/huggingface/pull.ts";
import { vqd, vqdIn } from "../support/cli.ts";
import { FakeHuggingFace } from "../support/huggingface-server.ts";
import { converted, ORIGINALS } from "../support/originals.ts";
import { temporaryFolder } from "../support/tiny.ts";

const sha256 = (content: Uint8Array): string => createHash("sha256").update(content).digest("hex");

let hub: FakeHuggingFace;
let folder: string;
beforeEach(async () => {
  hub = await FakeHuggingFace.start();
  folder = await temporaryFolder();
});

/** Puts the files of a folder on the server. */
async function serve(from: string, { parts = {} }: { parts?: Record<string, number> } = {}): Promise<void> {
  for (const entry of await readdir(from, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const content = await readFile(path);
    const count = parts[entry.name] ?? 1;
    const size = Math.ceil(content.length / count);
    for (let i = 0; i < count; i++) {
      const name = relative(from, path) + (count === 1 ? "" : `_${i}`);
      hub.files.set(name, {
        content: content.subarray(i * size, (i + 1) * size),
        large: content.length > 10_000,
      });
    }
  }
}

const urlOf = (path: string): string => `${hub.url}/owner/model/resolve/c0ffee${"0".repeat(34)}/${path}`;

describe.each(["class", "none"] as const)("a model without a text encoder (%s)", (name) => {
  it("comes whole", async () => {
    await serve(await converted(name));
    hub.files.set("text_encoder/model.safetensors", { content: Buffer.from("not needed") });
    const dir = join(folder, "model");
    const files = await pullCheckpoint({ repo: "owner/model", dir, endpoint: hub.url, firstRetryMs: 1 });
    expect(files).not.toContain("text_encoder/model.safetensors");
    expect(inspectCheckpoint(dir)).toMatchObject({ conditioning: name, problems: [] });
    hub.files.delete("vqvae/config.json");
    await expect(pullCheckpoint({ repo: "owner/model", dir, endpoint: hub.url })).rejects.toThrow(
      "it has no vqvae/config.json",
    );
  });
});

describe("a file at a URL", () => {
  const content = Buffer.from(Array.from({ length: 3_000 }, (_, i) => i * 7));

  it("is put together from its parts, and continued in the one in which it was cut off", async () => {
    for (const [i, name] of ["x_aa", "x_ab", "x_ac"].entries())
      hub.files.set(name, { content: content.subarray(i * 1_000, (i + 1) * 1_000) });
    hub.files.set("x_ad", { content: Buffer.alloc(0) });
    const out = join(folder, "x.pth");
    const urls = ["x_aa", "x_ab", "x_ac", "x_ad"].map(urlOf);
    await writeFile(`${out}.${sha256(content).slice(0, 12)}.part`, content.subarray(0, 1_500));
    const { code, stdout } = await vqd(
      "pull",
      ...urls,
      "--sha256",
      sha256(content).toUpperCase(),
      "--out",
      out,
    );
    expect({ code, stdout }).toEqual({ code: 0, stdout: `${out}\n` });
    expect((await readFile(out)).equals(content)).toBe(true);
    const asked = hub.requests.filter(({ range }) => range !== "bytes=0-0");
    expect(asked.map(({ path, range }) => [path, range])).toEqual([
      ["x_ab", "bytes=500-"],
      ["x_ac", undefined],
    ]);
  });

  it("is not written if it has another hash, and its own is said if none is given", async () => {
    hub.files.set("x.pth", { content });
    const wrong = await vqdIn({ cwd: folder }, "pull", urlOf("x.pth"), "--sha256", "0".repeat(64));
    expect(wrong.code).toBe(1);
    expect(wrong.stderr).toMatch(/does not have the expected hash \(0{64}\)/);
    expect(await readdir(folder)).toEqual([]);
    const { code, stdout, stderr } = await vqdIn({ cwd: folder }, "pull", urlOf("x.pth"));
    expect({ code, stdout }).toEqual({ code: 0, stdout: "x.pth\n" });
    expect(stderr).toContain(
      `not checked, as no hash is known: ${join(folder, "x.pth")} (SHA-256 ${sha256(content)})`,
    );
    const again = await vqdIn({ cwd: folder }, "pull", urlOf("x.pth"));
    expect(again.stderr).toMatch(/x.pth exists; remove it, or give its hash/);
  });

  it.each([
    [["http://127.0.0.1:1/x"], /cannot be reached/],
    [["https://x/y", "--dir", "z"], /--dir has no effect with vqd pull URL/],
    [["https://x/y", "owner/name"], /"owner\/name" is not an http\(s\) URL/],
    [["https://x/y", "--sha256", "abc"], /the SHA-256 must be 64 hexadecimal digits, not "abc"/],
    [["--from", "original", "nothing"], /MODEL must be one of ithq_learnable, .*, not "nothing"/],
    [["--from", "original", "cub_pretrained", "--token", "x"], /--token has an effect with --mirror only/],
    [["--from", "original", "cub_pretrained", "--mirror", "x"], /--mirror must be owner\/name, not "x"/],
  ])("%j is refused", async (args, message) => {
    const { code, stderr } = await vqdIn({ cwd: folder }, "pull", ...args);
    expect({ code: code === 0, stderr }).toEqual({
      code: false,
      stderr: expect.stringMatching(message) as string,
    });
  });

  it("is refused if the server has none, or does not say how large it is", async () => {
    expect((await vqdIn({ cwd: folder }, "pull", urlOf("nothing"))).stderr).toMatch(
      /the server responded 404/,
    );
    hub.files.set("endless", { content });
    hub.intercept = (_path, _request, response) => {
      response.writeHead(200).write("x");
      return true;
    };
    expect((await vqdIn({ cwd: folder }, "pull", urlOf("endless"))).stderr).toMatch(
      /does not say how large the file is/,
    );
  });
});

describe("a published model of the original code base", () => {
  const CONFIG = "OUTPUT/pretrained_model/config_imagenet.yaml";
  const MODEL = "OUTPUT/pretrained_model/imagenet_pretrained.pth";
  const MAP = "help_folder/statistics/taming_vqvae_36.pt";
  const VQGAN = "OUTPUT/pretrained_model/taming_dvae/vqgan_imagenet_f16_16384.pth";
  const source = join(ORIGINALS, "models", "imagenet");
  let model: PublishedModel;
  beforeEach(async () => {
    const file = async (path: string, parts?: number): Promise<PublishedFile> => ({
      path,
      urls:
        parts === undefined ? [urlOf(path)] : Array.from({ length: parts }, (_, i) => urlOf(`${path}_${i}`)),
      sha256: parts === undefined ? sha256(await readFile(join(source, path))) : undefined,
    });
    model = {
      config: await file(CONFIG),
      model: await file(MODEL, 3),
      others: [await file(MAP), await file(VQGAN)],
    };
  });
  const pull = (options: Partial<PullOriginalOptions> = {}) =>
    pullOriginal({ model, dir: join(folder, "model"), firstRetryMs: 1, ...options });

  it("comes in its layout, to be converted; nobody vouches for its checkpoint", async () => {
    await serve(source, { parts: { "imagenet_pretrained.pth": 3 } });
    const pulled = await pull();
    expect(pulled.unchecked).toEqual([pulled.model]);
    const to = join(folder, "converted");
    await convertOriginal(pulled, to, { dtype: "F32" });
    expect(inspectCheckpoint(to)).toMatchObject({ conditioning: "class", problems: [] });
    expect((await pull({ sha256: sha256(await readFile(join(source, MODEL))) })).unchecked).toEqual([]);
    await expect(pull({ sha256: "0".repeat(64) })).rejects.toThrow("does not have the expected hash");
  });

  it("comes from a mirror that has its files in any folder, and from their place what that lacks", async () => {
    await serve(source);
    const checkpoint = hub.files.get(MODEL);
    if (checkpoint === undefined) throw new Error("no checkpoint");
    for (const path of [MODEL, VQGAN]) hub.files.delete(path);
    hub.files.set("weights/imagenet_pretrained.pth", { ...checkpoint, large: true });
    hub.files.set("vqgan_imagenet_f16_16384.pth", {
      content: await readFile(join(source, VQGAN)),
      large: true,
    });
    hub.token = "hf_secret";
    const place = await FakeHuggingFace.start();
    place.files.set(CONFIG, { content: await readFile(join(source, CONFIG)) });
    hub.files.delete(CONFIG);
    const moved = { ...model.config, urls: [urlOf(CONFIG).replace(hub.url, place.url)] };
    const mirror = { repo: "owner/model", endpoint: hub.url, token: "hf_secret" };
    const pulled = await pull({ model: { ...model, config: moved }, mirror });
    expect(pulled.unchecked).toEqual([]);
    expect(place.requests.every(({ authorization }) => authorization === undefined)).toBe(true);
    const to = join(folder, "converted");
    await convertOriginal(pulled, to, { dtype: "F32" });
    expect(inspectCheckpoint(to).problems).toEqual([]);
    // What is published is known better than by the mirror.
    const map = (hub.files.get(MAP)?.content ?? new Uint8Array()).toReversed();
    hub.files.set(MAP, { content: map });
    const again = { model: { ...model, config: moved }, mirror, dir: join(folder, "again") };
    await expect(pull(again)).rejects.toThrow(/taming_vqvae_36.pt: .*expected hash/);
    hub.files.delete("weights/imagenet_pretrained.pth");
    await expect(pull({ mirror })).rejects.toThrow("owner/model has no imagenet_pretrained.pth");
  });

  it("has files with names of their own, each in a place", () => {
    for (const [name, { config, model: checkpoint, others }] of Object.entries(PUBLISHED_MODELS)) {
      const all = [config, checkpoint, ...others];
      expect(checkpoint.path).toBe(`OUTPUT/pretrained_model/${name}.pth`);
      expect(new Set(all.flatMap(({ urls }) => urls)).size).toBe(all.flatMap(({ urls }) => urls).length);
      for (const { urls } of all) for (const url of urls) expect(new URL(url).protocol).toBe("https:");
    }
    expect(PUBLISHED_MODELS["imagenet_learnable"]?.model.urls.at(-1)).toMatch(/\/imagenet_learnable_ai$/);
  });
});
