// `vqd pull`: downloads a checkpoint from the Hugging Face Hub.

import { inspectCheckpoint } from "../../checkpoint/inspect.ts";
import { readHubSettings } from "../../huggingface/settings.ts";
import { type Command, readArguments, stringOptions, UsageError } from "../command.ts";
import { createByteProgress } from "../progress.ts";

const USAGE = "vqd pull REPO";

const help = `Usage: ${USAGE} [options]

Downloads the VQ-Diffusion checkpoint REPO (owner/name) from the Hugging Face Hub: only the files that are needed,
with weights as safetensors where available. An interrupted download resumes where it stopped. All files are checked
against the hashes that the server lists.

Options:
  --dir DIR        target folder                                             [the name of REPO]
  --revision REV   branch, tag or commit                                                 [main]
  --variant NAME   prefer weight files of this variant, such as fp16
  --endpoint URL   another server of the same kind (HF_ENDPOINT)       [https://huggingface.co]
  --token TOKEN    for private and gated repositories; better set in the environment (HF_TOKEN)
  -h, --help       this text

Without a token, the one saved by hf auth login (huggingface-cli login; HF_TOKEN_PATH) is used, except with --endpoint
or HF_HUB_DISABLE_IMPLICIT_TOKEN=1. Files in the Hugging Face cache (HF_HUB_CACHE, or hub in HF_HOME) are copied from there.
`;

export const pull: Command = {
  summary: "download a checkpoint from the Hugging Face Hub",
  help,
  options: stringOptions("dir", "revision", "variant", "endpoint", "token"),
  async run(positionals, values) {
    const [repo] = readArguments(positionals, USAGE, ["REPO"]);
    if (!/^[\w-][\w.-]*\/[\w-][\w.-]*$/.test(repo)) {
      throw new UsageError(`REPO must be owner/name, not ${JSON.stringify(repo)}`);
    }
    const variant = values["variant"];
    if (variant !== undefined && !/^[\w-]+$/.test(variant)) {
      throw new UsageError(`--variant must be a name such as fp16, not ${JSON.stringify(variant)}`);
    }
    const env = process.env;
    const dir = values["dir"] ?? repo.slice(repo.indexOf("/") + 1);
    const settings = readHubSettings(env);
    const endpoint = readEndpoint(values["endpoint"] ?? settings.endpoint);
    // A saved token belongs to the server where the user logged in.
    const token = values["endpoint"] === undefined ? settings.token : env["HF_TOKEN"] || undefined;
    // The Hugging Face Hub's client is large, and no other command needs it.
    const { pullCheckpoint } = await import("../../huggingface/pull.ts");
    const progress = createByteProgress(process.stderr, `pulling ${repo}`);
    const files = await pullCheckpoint({
      repo,
      dir,
      endpoint,
      variant,
      revision: values["revision"],
      token: values["token"] ?? token,
      cacheDir: settings.cacheDir,
      onProgress: progress.update,
    });
    progress.finish();
    const [problem] = inspectCheckpoint(dir, variant).problems;
    if (problem !== undefined) throw new Error(`all files were downloaded, but ${problem}`);
    process.stderr.write(`${files.length} files\n`);
    process.stdout.write(`${dir}\n`);
  },
};

function readEndpoint(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !["http:", "https:"].includes(url.protocol)) {
    throw new UsageError(`--endpoint must be an http(s) URL, not ${JSON.stringify(text)}`);
  }
  return text.replace(/\/+$/, "");
}
