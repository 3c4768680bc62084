// The installation that precedes every npm script, on a made-up repository and with a made-up npm.

import { execFile } from "node:child_process";
import { cpSync, existsSync, mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";

const LOCK = (version: string) => ({
  packages: {
    "": { name: "x" },
    edge: { version: "0.1.0" },
    "node_modules/@x/edge": { resolved: "edge", link: true },
    "node_modules/a": { version },
    "node_modules/only-on-windows": { version: "1.0.0", optional: true },
  },
});

/** Counts its calls and does what the real one would: `ci` replaces node_modules, `rebuild` runs Node's install script. */
const FAKE_NPM = `
const fs = require("node:fs");
const args = process.argv.slice(2);
fs.appendFileSync("calls", args.join(" ") + "\\n");
if (fs.existsSync("broken")) { console.error("npm error code EFAKE"); process.exit(3); }
if (args[0] === "rebuild") {
  if (!fs.existsSync("no-scripts")) fs.symlinkSync(process.execPath, "node_modules/.bin/node");
  process.exit(0);
}
fs.rmSync("node_modules", { recursive: true, force: true });
fs.mkdirSync("node_modules/.bin", { recursive: true });
const { packages } = JSON.parse(fs.readFileSync("package-lock.json", "utf8"));
delete packages["node_modules/only-on-windows"];
fs.writeFileSync("node_modules/.package-lock.json", JSON.stringify({ packages }));
`;

const PACKAGE = { allowScripts: { node: true, "onnxruntime-node": false, workerd: true } };
const CI = "ci --ignore-scripts --loglevel=error --no-audit --no-fund";
const REBUILD = "rebuild --ignore-scripts=false --loglevel=error node workerd";

let repo: string;
beforeEach(async () => {
  repo = await mkdtemp(join(tmpdir(), "vqd-install-"));
  for (const file of ["infra/run.mjs", "infra/install.mjs", "infra/usage.mjs", "gpu-worker/malloc.mjs"]) {
    cpSync(join(REPO, file), join(repo, file));
  }
  writeFileSync(join(repo, "npm-cli.js"), FAKE_NPM);
  writeFileSync(join(repo, "package.json"), JSON.stringify(PACKAGE));
  writeFileSync(join(repo, "package-lock.json"), JSON.stringify(LOCK("1.0.0")));
});
afterEach(() => rm(repo, { recursive: true, force: true }));

async function install(node = process.execPath, env: NodeJS.ProcessEnv = {}): Promise<string> {
  const { stderr } = await promisify(execFile)(node, [join(repo, "infra", "run.mjs"), "install"], {
    env: { PATH: process.env["PATH"], npm_execpath: join(repo, "npm-cli.js"), ...env },
  });
  return stderr;
}

const calls = (): string[] => {
  const path = join(repo, "calls");
  return existsSync(path) ? readFileSync(path, "utf8").trim().split("\n") : [];
};

it("installs once, and again when package-lock.json has changed", async () => {
  expect(await install()).toMatch(/^installing dependencies .*\ninstalled in \d+ s\n$/);
  expect(calls()).toEqual([CI, REBUILD]);
  // The data folder is made by the way; other users have no business in it.
  expect(statSync(join(repo, ".vqd")).mode & 0o077).toBe(0);
  expect(await install()).toBe("");
  writeFileSync(join(repo, "package-lock.json"), JSON.stringify(LOCK("2.0.0")));
  await install();
  expect(calls()).toEqual([CI, REBUILD, CI, REBUILD]);
});

it("outlives the removal of the Node that runs it, which is that of node_modules within npm's scripts", async () => {
  const installed = join(repo, "node_modules", "node", "bin", "node");
  mkdirSync(dirname(installed), { recursive: true });
  cpSync(process.execPath, installed, { dereference: true });
  await install(installed, { npm_node_execpath: process.execPath });
  expect(existsSync(installed)).toBe(false);
  expect(calls()).toEqual([CI, REBUILD]);
});

it("is content with what npm installed when called by hand", async () => {
  await install();
  rmSync(join(repo, "node_modules", ".vqd-installed"));
  expect(await install()).toBe("");
  expect(calls()).toHaveLength(2);
});

it("runs only the install scripts that an npm ci by hand has left out", async () => {
  await install();
  rmSync(join(repo, "node_modules", ".vqd-installed"));
  rmSync(join(repo, "node_modules", ".bin", "node"));
  expect(await install()).toMatch(/^installed in \d+ s\n$/);
  expect(calls()).toEqual([CI, REBUILD, REBUILD]);
});

it("installs once when two start together", async () => {
  await Promise.all([install(), install(), install()]);
  expect(calls()).toHaveLength(2);
});

it("is not held up by the lock of one that was killed", async () => {
  mkdirSync(join(repo, ".vqd", "install.lock"), { recursive: true });
  writeFileSync(join(repo, ".vqd", "install.lock", "pid"), String(2 ** 22 + 1));
  await install();
  expect(calls()).toHaveLength(2);
});

it("says what to do when npm fails, and when Node was not installed", async () => {
  writeFileSync(join(repo, "broken"), "");
  await expect(install()).rejects.toThrow(
    /npm error code EFAKE\nnpm ci failed \(3\), see above.*\n.*run.mjs install/,
  );
  rmSync(join(repo, "broken"));
  writeFileSync(join(repo, "no-scripts"), "");
  await expect(install()).rejects.toThrow("npm did not install Node 24 in node_modules");
});
