// Installs the dependencies if those installed differ from package-lock.json.

import { spawn } from "node:child_process";
import { createHash } from "node:crypto";
import { existsSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { basename, join } from "node:path";
import { setTimeout as delay } from "node:timers/promises";

const LOCK_POLL_MS = 200;
/** A lock folder without a process id after this time was left behind by a process that was killed. */
const LOCK_GRACE_MS = 2_000;

/** Makes `node_modules` match package-lock.json. Throws an Error that says what to do. */
export async function ensureInstalled(repo) {
  if (isInstalled(repo)) return;
  const release = await lock(join(repo, ".vqd", "install.lock"));
  try {
    // Another process may have done it while this one waited.
    if (isInstalled(repo)) return;
    await install(repo);
    if (!existsSync(nodePath(repo))) {
      throw new Error("npm did not install Node 24 in node_modules; try: node infra/run.mjs install");
    }
    writeFileSync(stampPath(repo), wantedStamp(repo));
  } finally {
    release();
  }
}

const nodePath = (repo) => join(repo, "node_modules", ".bin", "node");
const stampPath = (repo) => join(repo, "node_modules", ".vqd-installed");

function wantedStamp(repo) {
  const hash = createHash("sha256")
    .update(readFileSync(join(repo, "package-lock.json")))
    .digest("hex");
  return `${hash} ${process.platform} ${process.arch}\n`;
}

function isInstalled(repo) {
  if (!existsSync(nodePath(repo))) return false;
  const wanted = wantedStamp(repo);
  if (readText(stampPath(repo)) === wanted) return true;
  // npm was run by hand. Its own record of what it installed tells whether that was enough.
  if (!isSameTree(repo)) return false;
  writeFileSync(stampPath(repo), wanted);
  return true;
}

/** Whether each package of package-lock.json is installed in its version, except those for other platforms. */
function isSameTree(repo) {
  try {
    const wanted = JSON.parse(readFileSync(join(repo, "package-lock.json"), "utf8")).packages;
    const there = JSON.parse(readFileSync(join(repo, "node_modules", ".package-lock.json"), "utf8")).packages;
    return Object.entries(wanted).every(([path, entry]) => {
      if (!path.includes("node_modules/")) return true;
      const found = there[path];
      if (found === undefined) return entry.optional === true || entry.peer === true;
      return entry.link === true || found.version === entry.version;
    });
  } catch {
    return false;
  }
}

/**
 * npm ci runs no install scripts: that of onnxruntime-node would download the CUDA library, which only machines with an
 * NVIDIA GPU need, and fails without a network. The scripts that are needed are run here, by name.
 */
async function install(repo) {
  const startedAt = performance.now();
  if (!isSameTree(repo)) {
    process.stderr.write("installing dependencies (npm ci) ...\n");
    await npm(repo, ["ci", "--ignore-scripts", "--loglevel=error", "--no-audit", "--no-fund"]);
  }
  const { allowScripts = {} } = JSON.parse(readFileSync(join(repo, "package.json"), "utf8"));
  const allowed = Object.keys(allowScripts).filter((name) => allowScripts[name]);
  await npm(repo, ["rebuild", "--ignore-scripts=false", "--loglevel=error", ...allowed]);
  process.stderr.write(`installed in ${Math.round((performance.now() - startedAt) / 1000)} s\n`);
}

async function npm(repo, args) {
  // Set within npm's scripts; another package manager must not be run with npm's arguments.
  const npmCli = process.env.npm_execpath;
  const isNpm = npmCli !== undefined && basename(npmCli).startsWith("npm");
  // Not this process' Node: within npm's scripts that is the one in node_modules, which npm ci removes.
  const { npm_node_execpath: node = process.execPath } = process.env;
  const [program, programArgs] = isNpm ? [node, [npmCli, ...args]] : ["npm", args];
  const child = spawn(program, programArgs, { cwd: repo, stdio: ["ignore", "ignore", 2] });
  const forward = (signal) => child.kill(signal);
  process.once("SIGINT", forward).once("SIGTERM", forward);
  const result = await new Promise((resolve) => {
    child.once("error", (error) => resolve(error.message));
    child.once("exit", (code, signal) => resolve(signal ?? code));
  });
  process.off("SIGINT", forward).off("SIGTERM", forward);
  if (result === 0) return;
  throw new Error(
    `npm ${args[0]} failed (${result}), see above. It needs the network, or npm's cache, and npm 9 or later;\n` +
      "to try again: node infra/run.mjs install",
  );
}

/** Allows one installation at a time. Returns a function that releases the lock. */
async function lock(path) {
  mkdirSync(join(path, ".."), { recursive: true, mode: 0o700 });
  const owner = join(path, "pid");
  let isSaid = false;
  let seenAt;
  for (;;) {
    try {
      mkdirSync(path);
      writeFileSync(owner, String(process.pid));
      return () => rmSync(path, { recursive: true, force: true });
    } catch (error) {
      if (error.code !== "EEXIST") throw error;
    }
    const pid = Number(readText(owner) ?? 0);
    seenAt ??= performance.now();
    if (pid === 0 ? performance.now() - seenAt > LOCK_GRACE_MS : !isAlive(pid)) {
      rmSync(path, { recursive: true, force: true });
      continue;
    }
    if (!isSaid) process.stderr.write("another installation is running; waiting for it ...\n");
    isSaid = true;
    await delay(LOCK_POLL_MS);
  }
}

function isAlive(pid) {
  try {
    return process.kill(pid, 0);
  } catch (error) {
    return error.code === "EPERM";
  }
}

function readText(path) {
  try {
    return readFileSync(path, "utf8");
  } catch {
    return undefined;
  }
}
