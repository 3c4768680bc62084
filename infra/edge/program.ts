// Builds the folder that a self-hosted edge runs from: the Worker and its bindings bundled into one file each, its settings,
// its pages and workerd. It needs no package of the repository.

import { mkdirSync, rmSync, symlinkSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { join } from "node:path";
import { build, stop } from "esbuild";
import { REPO } from "../stack/paths.ts";
import type { ProgramSettings } from "./workerd-config.ts";
import { readWranglerToml } from "./wrangler-toml.ts";

const require = createRequire(import.meta.url);
/** Path of the executable. The package is CommonJS, without types. */
const WORKERD = (require("workerd") as { default: string }).default;

/**
 * Builds the program in `dir`. workerd and the pages are symbolic links, which `cp -L` resolves. Throws an Error if the sources
 * cannot be bundled, or if wrangler.toml has a setting that infra/edge does not know.
 */
export async function buildProgram(dir: string): Promise<void> {
  const { name, main, compatibility_date, compatibility_flags, assets, vars } = readWranglerToml();
  mkdirSync(dir, { recursive: true });
  try {
    await build({
      absWorkingDir: REPO,
      entryPoints: { edge: main, bindings: "infra/edge/workerd/bindings.ts" },
      outdir: dir,
      bundle: true,
      format: "esm",
      target: "es2024",
      // The same as wrangler's: packages' builds for Workers come first.
      conditions: ["workerd", "worker", "browser"],
      external: ["cloudflare:*"],
      loader: { ".txt": "text" },
      logLevel: "silent",
    });
  } finally {
    // Otherwise its process would live as long as this one.
    await stop();
  }
  const settings: ProgramSettings = {
    name,
    compatibilityDate: compatibility_date,
    compatibilityFlags: compatibility_flags,
    variables: vars,
  };
  writeFileSync(join(dir, "settings.json"), JSON.stringify(settings));
  for (const [link, target] of [
    ["pages", join(REPO, assets.directory)],
    ["workerd", WORKERD],
  ] as const) {
    rmSync(join(dir, link), { force: true });
    symlinkSync(target, join(dir, link));
  }
}
