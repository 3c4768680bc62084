// The settings of the Hugging Face tools, found where those keep them: endpoint, token, cache.

import { readFileSync } from "node:fs";
import { homedir } from "node:os";
import { join } from "node:path";

const DEFAULT_ENDPOINT = "https://huggingface.co";

export interface HubSettings {
  readonly endpoint: string;
  /** HF_TOKEN, or what `hf auth login` (`huggingface-cli login`) has saved. */
  readonly token: string | undefined;
  /** Folder of downloaded files, which may not exist. */
  readonly cacheDir: string;
}

/** An empty variable counts as unset; `~` is expanded, as those tools do. */
function pathVariable(env: NodeJS.ProcessEnv, name: string): string | undefined {
  const value = env[name];
  return value ? value.replace(/^~(?=$|\/)/, homedir()) : undefined;
}

const isTrue = (value: string | undefined): boolean => /^(?:1|on|yes|true)$/i.test(value ?? "");

/** Reads the variables HF_ENDPOINT, HF_TOKEN, HF_TOKEN_PATH, HF_HUB_CACHE, HF_HOME, XDG_CACHE_HOME and a few older ones. */
export function readHubSettings(env: NodeJS.ProcessEnv): HubSettings {
  const home =
    pathVariable(env, "HF_HOME") ??
    join(pathVariable(env, "XDG_CACHE_HOME") ?? join(homedir(), ".cache"), "huggingface");
  const tokenPath = pathVariable(env, "HF_TOKEN_PATH") ?? join(home, "token");
  const saved = isTrue(env["HF_HUB_DISABLE_IMPLICIT_TOKEN"]) ? undefined : readToken(tokenPath);
  return {
    endpoint: env["HF_ENDPOINT"] || DEFAULT_ENDPOINT,
    token: clean(env["HF_TOKEN"] || env["HUGGING_FACE_HUB_TOKEN"]) ?? saved,
    cacheDir:
      pathVariable(env, "HF_HUB_CACHE") ?? pathVariable(env, "HUGGINGFACE_HUB_CACHE") ?? join(home, "hub"),
  };
}

const clean = (token: string | undefined): string | undefined => token?.trim() || undefined;

function readToken(path: string): string | undefined {
  try {
    return clean(readFileSync(path, "utf8"));
  } catch {
    return undefined;
  }
}
