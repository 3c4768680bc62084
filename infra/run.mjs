// Entry point of `npm start|test` and of `npm run generate|vqd|worker|bench|chaos|abuse|gpu-check|keys|cluster|k8s|audit|sbom`: installs what is missing,
// then runs the TypeScript entry point on Node 24. `install` does only the former.
// Plain JavaScript without dependencies, because it runs on the system's Node before anything is installed.

import { spawn } from "node:child_process";
import { existsSync, mkdirSync } from "node:fs";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { workerEnvironment } from "../gpu-worker/malloc.mjs";
import { ensureInstalled } from "./install.mjs";
import { START_HELP, TEST_HELP } from "./usage.mjs";

const MIN_NODE = 20;
const REPO = join(dirname(fileURLToPath(import.meta.url)), "..");
const DATA = join(REPO, ".vqd");
const PARENT_POLL_MS = 500;

/** `help` can be shown without an installation; the other commands answer --help themselves. */
const COMMANDS = {
  start: { entry: "infra/stack/main.ts", args: [], help: START_HELP },
  test: { entry: "infra/test.ts", args: [], help: TEST_HELP },
  generate: { entry: "gpu-worker/cli.ts", args: ["generate"] },
  vqd: { entry: "gpu-worker/cli.ts", args: [] },
  worker: { entry: "gpu-worker/cli.ts", args: ["worker"] },
  keys: { entry: "infra/keys.ts", args: [] },
  audit: { entry: "infra/dependencies/main.ts", args: [] },
  sbom: { entry: "infra/dependencies/sbom.ts", args: [] },
  cluster: { entry: "infra/nats/cluster/main.ts", args: [] },
  k8s: { entry: "infra/k8s/render.ts", args: [] },
  bench: { entry: "test/bench/main.ts", args: [] },
  chaos: { entry: "test/chaos/main.ts", args: [] },
  "gpu-check": { entry: "test/bench/gpu/main.ts", args: [] },
  abuse: { entry: "test/bench/abuse.ts", args: [] },
  install: {},
};

const fail = (message) => {
  process.stderr.write(`${message}\n`);
  process.exit(1);
};

const major = Number(process.versions.node.split(".")[0]);
if (major < MIN_NODE) fail(`Node ${MIN_NODE} or later is required; this is ${process.versions.node}.`);

const [name = "", ...args] = process.argv.slice(2);
const command = Object.hasOwn(COMMANDS, name) ? COMMANDS[name] : undefined;
if (command === undefined) fail(`usage: node infra/run.mjs ${Object.keys(COMMANDS).join("|")} [options]`);
if (command.help !== undefined && args.some((arg) => arg === "--help" || arg === "-h")) {
  process.stdout.write(command.help);
  process.exit(0);
}

// Created here, before anything else creates it with the default mode.
mkdirSync(DATA, { recursive: true, mode: 0o700 });
try {
  await ensureInstalled(REPO);
} catch (error) {
  fail(error.message);
}

if (command.entry === undefined) process.exit(0);
const entry = join(REPO, command.entry);
if (!existsSync(entry)) fail(`${command.entry} is missing`);
// No other user may read what the stack's processes store.
if (name === "start") process.umask(0o077);
const child = spawn(join(REPO, "node_modules", ".bin", "node"), [entry, ...command.args, ...args], {
  // By the channel the child notices when this process is gone.
  stdio: ["inherit", "inherit", "inherit", "ipc"],
  // Keeps compiled code: a command starts in about 0.7 of the time.
  env: { NODE_COMPILE_CACHE: join(DATA, "compiled"), ...workerEnvironment() },
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
if (process.env.npm_lifecycle_event !== undefined) {
  // If npm is killed, the only sign is another parent process.
  const npm = process.ppid;
  const watch = setInterval(() => {
    if (process.ppid === npm) return;
    clearInterval(watch);
    child.kill("SIGTERM");
  }, PARENT_POLL_MS);
}
child.once("error", (error) => fail(`cannot run Node 24: ${error.message}`));
child.once("exit", (code, signal) => {
  process.exit(code ?? 128 + constants.signals[signal]);
});
