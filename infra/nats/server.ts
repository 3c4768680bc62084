// Finds the nats-server binary, and obtains one if there is none.

import { execFile, spawn } from "node:child_process";
import { accessSync, constants } from "node:fs";
import { homedir } from "node:os";
import { delimiter, join } from "node:path";
import { promisify } from "node:util";
import { isAtLeast, MIN_NATS } from "@vqd/gpu-worker/nats/server-version.ts";
import { type Download, fetchBytes, installRelease, type Release, releaseFor } from "./release.ts";

/** From here on workers of different models cannot reach each other's jobs (docs/security.md). */
const CURRENT_VERSION = "2.12.7";
/** The one that is there would do. */
const UPDATE_TIMEOUT_MS = 20_000;
const VERSION_TIMEOUT_MS = 10_000;

export interface NatsServer {
  readonly path: string;
  readonly version: string;
}

export interface FindOptions {
  /** Folder for a downloaded binary. */
  readonly binDir: string;
  readonly env?: NodeJS.ProcessEnv;
  /** Folders outside PATH to search; by default the usual ones. */
  readonly extraDirs?: readonly string[];
}

export interface EnsureOptions extends FindOptions {
  readonly log: (message: string) => void;
  /** Ways to obtain a nats-server, tried in turn; by default those of the system. */
  readonly sources?: readonly NatsSource[];
  /** Whether to download the pinned release where the server that was found is older than CURRENT_VERSION. [false] */
  readonly prefersCurrent?: boolean;
  readonly download?: Download;
  /** What to download; by default the pinned release for this machine, if there is one. */
  readonly release?: Release;
}

/** One way to obtain a nats-server. */
export interface NatsSource {
  readonly name: string;
  /** Whether this way is available here. */
  readonly applies: boolean;
  /** Puts a binary where `findNatsServer` finds it. */
  install(log: (message: string) => void): Promise<void>;
}

/** Debian installs into a folder that only root has on PATH; Homebrew's may be missing from the PATH of a desktop session. */
const USUAL_DIRS = [
  "/usr/sbin",
  "/usr/local/sbin",
  "/usr/local/bin",
  "/usr/bin",
  "/opt/homebrew/bin",
  "/home/linuxbrew/.linuxbrew/bin",
  join(homedir(), "go", "bin"),
];

/** The first nats-server that is recent enough; if `VQD_NATS_SERVER` names one, no other is considered. */
export async function findNatsServer({
  binDir,
  env = process.env,
  extraDirs = USUAL_DIRS,
}: FindOptions): Promise<NatsServer | undefined> {
  const given = env["VQD_NATS_SERVER"];
  if (given !== undefined && given !== "") {
    const version = await versionOf(given);
    if (version === undefined) throw new Error(`VQD_NATS_SERVER: ${given} is not an executable nats-server`);
    if (!isAtLeast(version, MIN_NATS))
      throw new Error(`VQD_NATS_SERVER: ${given} is ${version}, older than ${MIN_NATS}`);
    return { path: given, version };
  }
  const path = (env["PATH"] ?? "").split(delimiter).filter((dir) => dir !== "");
  for (const dir of new Set([...path, ...extraDirs, binDir])) {
    const candidate = join(dir, "nats-server");
    const version = isExecutable(candidate) ? await versionOf(candidate) : undefined;
    if (version !== undefined && isAtLeast(version, MIN_NATS)) return { path: candidate, version };
  }
  return undefined;
}

/** Finds or obtains nats-server; otherwise throws an Error that says what to do. */
export async function ensureNatsServer(options: EnsureOptions): Promise<NatsServer> {
  const found = (await findNatsServer(options)) ?? (await install(options));
  return options.prefersCurrent === true ? currentOr(found, options) : found;
}

async function install(options: EnsureOptions): Promise<NatsServer> {
  const problems: string[] = [];
  for (const source of options.sources ?? systemSources(options.binDir)) {
    if (!source.applies) continue;
    try {
      await source.install(options.log);
    } catch (error) {
      problems.push(`${source.name}: ${reasonOf(error)}`);
      continue;
    }
    const installed = await findNatsServer(options);
    if (installed !== undefined) return installed;
    problems.push(`${source.name}: installed, but not nats-server ${MIN_NATS} or later`);
  }
  throw new Error(howToInstall(problems));
}

/** A current server if there is one already or it can be downloaded, and else what was found. */
async function currentOr(
  found: NatsServer,
  {
    binDir,
    env = process.env,
    log,
    download = fetchBytes(UPDATE_TIMEOUT_MS),
    release = releaseFor(process.platform, process.arch),
  }: EnsureOptions,
): Promise<NatsServer> {
  // The operator's choice.
  if (env["VQD_NATS_SERVER"] || isAtLeast(found.version, CURRENT_VERSION)) return found;
  const path = join(binDir, "nats-server");
  const downloaded = isExecutable(path) ? await versionOf(path) : undefined;
  if (downloaded !== undefined && isAtLeast(downloaded, CURRENT_VERSION))
    return { path, version: downloaded };
  if (release === undefined || !isAtLeast(release.version, CURRENT_VERSION)) return found;
  log(`nats-server ${found.version} is old; downloading ${release.version} from ${release.url}`);
  try {
    await installRelease(release, binDir, download);
    // Not where programs in this folder may not be run, or the processor is older than the release expects.
    if ((await versionOf(path)) === undefined) throw new Error(`${path} does not run on this machine`);
    return { path, version: release.version };
  } catch (error) {
    log(`continuing with nats-server ${found.version}: ${reasonOf(error)}`);
    return found;
  }
}

function systemSources(binDir: string): NatsSource[] {
  const isRoot = process.getuid?.() === 0;
  const release = releaseFor(process.platform, process.arch);
  return [
    {
      name: "apt-get",
      // Only as root: a password prompt in the middle of a start would be a surprise.
      applies: isRoot && process.platform === "linux" && isOnPath("apt-get"),
      async install(log) {
        log("nats-server not found; installing it with apt-get");
        await runQuietly("apt-get", ["update"]);
        await runQuietly("apt-get", ["install", "-y", "--no-install-recommends", "nats-server"]);
      },
    },
    {
      name: "brew",
      // Homebrew refuses to run as root.
      applies: !isRoot && isOnPath("brew"),
      async install(log) {
        log("nats-server not found; installing it with brew");
        await runQuietly("brew", ["install", "nats-server"]);
      },
    },
    {
      name: "official release",
      applies: true,
      async install(log) {
        if (release === undefined) {
          throw new Error(
            `no known checksum for ${process.platform} on ${process.arch}, so nothing was downloaded`,
          );
        }
        log(`nats-server not found; downloading ${release.version} from ${release.url}`);
        await installRelease(release, binDir);
      },
    },
  ];
}

function howToInstall(problems: readonly string[]): string {
  return [
    `nats-server ${MIN_NATS} or later is required, but was not found.`,
    ...problems.map((problem) => `  tried ${problem}`),
    "Install it and try again:",
    "  Debian, Ubuntu   sudo apt-get install nats-server",
    "  macOS            brew install nats-server",
    "  Windows          use WSL 2",
    "  other            https://github.com/nats-io/nats-server/releases",
    "or set VQD_NATS_SERVER to the path of the binary.",
  ].join("\n");
}

/** fetch says only that it failed; the cause says why. */
function reasonOf(error: unknown): string {
  if (!(error instanceof Error)) return String(error);
  return error.cause instanceof Error ? `${error.message} (${error.cause.message})` : error.message;
}

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

function isOnPath(command: string): boolean {
  return (process.env["PATH"] ?? "")
    .split(delimiter)
    .some((dir) => dir !== "" && isExecutable(join(dir, command)));
}

/** The version that `nats-server -v` prints (`nats-server: v2.9.10`), without the v. */
async function versionOf(path: string): Promise<string | undefined> {
  try {
    const { stdout } = await promisify(execFile)(path, ["-v"], { timeout: VERSION_TIMEOUT_MS });
    return /\bv?(\d+\.\d+\.\d+\S*)/.exec(stdout)?.[1];
  } catch {
    return undefined;
  }
}

/** Runs a command without showing its output; if it fails, the error contains the end of it. */
async function runQuietly(command: string, args: string[]): Promise<void> {
  const child = spawn(command, args, {
    env: { ...process.env, DEBIAN_FRONTEND: "noninteractive" },
    stdio: ["ignore", "pipe", "pipe"],
  });
  const output: string[] = [];
  child.stdout.setEncoding("utf8").on("data", (text: string) => output.push(text));
  child.stderr.setEncoding("utf8").on("data", (text: string) => output.push(text));
  const code = await new Promise<number | null>((resolve, reject) => {
    child.once("error", reject);
    child.once("close", resolve);
  });
  if (code === 0) return;
  const end = output.join("").trim().split("\n").slice(-3).join("; ");
  throw new Error(`${command} ${args.join(" ")} failed with code ${code}: ${end}`);
}
