// `vqd pull`: downloads a checkpoint from the Hugging Face Hub, a model of the original code base, or any file.

import { existsSync } from "node:fs";
import { basename, dirname, relative, resolve } from "node:path";
import { inspectCheckpoint } from "../../checkpoint/inspect.ts";
import { PUBLISHED_MODELS } from "../../checkpoint/original/published.ts";
import { downloadAll } from "../../download/folder.ts";
import { fileAt } from "../../download/url.ts";
import { readHubSettings } from "../../huggingface/settings.ts";
import { choiceOption, type Command, readArguments, stringOptions, UsageError } from "../command.ts";
import { createByteProgress } from "../progress.ts";

const USAGE = "vqd pull REPO";
const ORIGINAL_USAGE = "vqd pull --from original MODEL";
const URL_USAGE = "vqd pull URL... --sha256 HEX --out FILE";

const help = `Usage: ${USAGE} [options]
       ${ORIGINAL_USAGE} [options]
       ${URL_USAGE}

Downloads the VQ-Diffusion checkpoint REPO (owner/name) from the Hugging Face Hub: only the files that are needed,
with weights as safetensors where available. An interrupted download resumes where it stopped. All files are checked
against the hashes that the server lists.

With --from original, MODEL is one that microsoft/VQ-Diffusion has published:
${Object.keys(PUBLISHED_MODELS).join(", ").replace(" cub_", "\ncub_")}.
Its files come from where its authors put them, or from a mirror, to be converted by vqd convert. Of their
checkpoints no hashes are published: give one with --sha256, or take the one that is printed.

With URLs, the file there is downloaded; of several, the parts of a file, in order.

Options:
  --from LAYOUT    diffusers or original                                            [diffusers]
  --dir DIR        target folder                                    [the name of REPO or MODEL]
  --revision REV   branch, tag or commit                                                 [main]
  --variant NAME   prefer weight files of this variant, such as fp16
  --mirror REPO    original: a repository of the Hugging Face Hub that has MODEL.pth
  --sha256 HEX     of the file at the URLs, or original: of MODEL.pth
  --out FILE       URLs: where the file is written                      [its name at the first]
  --endpoint URL   another server of the same kind (HF_ENDPOINT)       [https://huggingface.co]
  --token TOKEN    for private and gated repositories; better set in the environment (HF_TOKEN)
  -h, --help       this text

Without a token, the one saved by hf auth login (huggingface-cli login; HF_TOKEN_PATH) is used, except with --endpoint
or HF_HUB_DISABLE_IMPLICIT_TOKEN=1. Files in the Hugging Face cache (HF_HUB_CACHE, or hub in HF_HOME) are copied from there.
`;

type Values = Readonly<Record<string, string | undefined>>;
type Form = "diffusers" | "original" | "url";

const OPTIONS = [
  "from",
  "dir",
  "revision",
  "variant",
  "mirror",
  "sha256",
  "out",
  "endpoint",
  "token",
] as const;

/** Which of the options have an effect with which form. */
const OPTIONS_OF: Readonly<Record<Form, readonly (typeof OPTIONS)[number][]>> = {
  diffusers: ["from", "dir", "revision", "variant", "endpoint", "token"],
  original: ["from", "dir", "revision", "mirror", "sha256", "endpoint", "token"],
  url: ["sha256", "out"],
};

const FORMS: Readonly<Record<Form, (positionals: readonly string[], values: Values) => Promise<void>>> = {
  diffusers: pullRepository,
  original: pullPublished,
  url: pullFile,
};

export const pull: Command = {
  summary: "download a checkpoint from the Hugging Face Hub, or a model of the original code base",
  help,
  options: stringOptions(...OPTIONS),
  async run(positionals, values) {
    const from = choiceOption(values, "from", ["diffusers", "original"]) ?? "diffusers";
    const isUrl = positionals.some((argument) => /^https?:/i.test(argument));
    const form = isUrl ? "url" : from;
    const idle = OPTIONS.find((name) => values[name] !== undefined && !OPTIONS_OF[form].includes(name));
    if (idle !== undefined) {
      const usages = { diffusers: USAGE, original: ORIGINAL_USAGE, url: URL_USAGE };
      throw new UsageError(`--${idle} has no effect with ${usages[form]}`);
    }
    await FORMS[form](positionals, values);
  },
};

/** The repository of that name, and how it is reached. Throws a UsageError, naming `what`. */
function readRepository(what: string, repo: string, values: Values) {
  if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(repo)) {
    throw new UsageError(`${what} must be owner/name, not ${JSON.stringify(repo)}`);
  }
  const env = process.env;
  const settings = readHubSettings(env);
  // A saved token belongs to the server where the user logged in.
  const token = values["endpoint"] === undefined ? settings.token : env["HF_TOKEN"] || undefined;
  return {
    repo,
    endpoint: readEndpoint(values["endpoint"] ?? settings.endpoint),
    revision: values["revision"],
    token: values["token"] ?? token,
    cacheDir: settings.cacheDir,
  };
}

async function pullRepository(positionals: readonly string[], values: Values): Promise<void> {
  const [name] = readArguments(positionals, USAGE, ["REPO"]);
  const repository = readRepository("REPO", name, values);
  const variant = values["variant"];
  if (variant !== undefined && !/^[\w-]+$/.test(variant)) {
    throw new UsageError(`--variant must be a name such as fp16, not ${JSON.stringify(variant)}`);
  }
  const dir = values["dir"] ?? name.slice(name.indexOf("/") + 1);
  // The Hugging Face Hub's client is large, and no other command needs it.
  const { pullCheckpoint } = await import("../../huggingface/pull.ts");
  const progress = createByteProgress(process.stderr, `pulling ${name}`);
  const files = await pullCheckpoint({ ...repository, dir, variant, onProgress: progress.update });
  progress.finish();
  const [problem] = inspectCheckpoint(dir, variant).problems;
  if (problem !== undefined) throw new Error(`all files were downloaded, but ${problem}`);
  process.stderr.write(`${files.length} files\n`);
  process.stdout.write(`${dir}\n`);
}

async function pullPublished(positionals: readonly string[], values: Values): Promise<void> {
  const [name] = readArguments(positionals, ORIGINAL_USAGE, ["MODEL"]);
  const model = Object.hasOwn(PUBLISHED_MODELS, name) ? PUBLISHED_MODELS[name] : undefined;
  if (model === undefined) {
    const names = Object.keys(PUBLISHED_MODELS).join(", ");
    throw new UsageError(`MODEL must be one of ${names}, not ${JSON.stringify(name)}`);
  }
  const { mirror, sha256, dir = name } = values;
  const idle = (["revision", "endpoint", "token"] as const).find((option) => values[option] !== undefined);
  if (mirror === undefined && idle !== undefined) {
    throw new UsageError(`--${idle} has an effect with --mirror only`);
  }
  const { pullOriginal } = await import("../../huggingface/pull-original.ts");
  const progress = createByteProgress(process.stderr, `pulling ${name}`);
  const pulled = await pullOriginal({
    model,
    dir,
    sha256,
    mirror: mirror === undefined ? undefined : readRepository("--mirror", mirror, values),
    onProgress: progress.update,
  });
  progress.finish();
  for (const path of pulled.unchecked) await sayHash(path);
  const shown = [pulled.config, pulled.model].map((path) => relative("", path)).join(" ");
  process.stderr.write(`convert it: vqd convert --from original ${shown} DST\n`);
  process.stdout.write(`${dir}\n`);
}

async function pullFile(urls: readonly string[], values: Values): Promise<void> {
  for (const url of urls) {
    if (!URL.canParse(url) || !/^https?:$/.test(new URL(url).protocol)) {
      throw new UsageError(`${JSON.stringify(url)} is not an http(s) URL`);
    }
  }
  const named = basename(new URL(urls[0] ?? "").pathname);
  const out = values["out"] ?? named;
  if (out === "") throw new UsageError("the URL names no file; give one with --out");
  const path = resolve(out);
  if (existsSync(path) && values["sha256"] === undefined) {
    throw new UsageError(`${out} exists; remove it, or give its hash with --sha256`);
  }
  const file = await fileAt(urls, values["sha256"]);
  const progress = createByteProgress(process.stderr, `pulling ${basename(path)}`);
  await downloadAll([{ path: basename(path), file }], dirname(path), { onProgress: progress.update });
  progress.finish();
  if (file.hash === undefined) await sayHash(path);
  process.stdout.write(`${out}\n`);
}

/** Says what nobody has checked. */
async function sayHash(path: string): Promise<void> {
  const { sha256Of } = await import("../../download/download.ts");
  process.stderr.write(`not checked, as no hash is known: ${path} (SHA-256 ${await sha256Of(path)})\n`);
}

function readEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    throw new UsageError(`--endpoint must be an http(s) URL, not ${JSON.stringify(text)}`);
  }
  return text.replace(/\/+$/, "");
}
