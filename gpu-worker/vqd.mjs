#!/usr/bin/env node
// The `vqd` command: runs cli.ts on a Node that runs TypeScript, whatever Node the system has.
// Plain JavaScript, because it runs on the system's Node.

import { spawn } from "node:child_process";
import { createRequire } from "node:module";
import { constants } from "node:os";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { workerEnvironment } from "./malloc.mjs";

const CLI = join(dirname(fileURLToPath(import.meta.url)), "cli.ts");
const node = join(dirname(createRequire(import.meta.url).resolve("node/package.json")), "bin", "node");

const child = spawn(node, [CLI, ...process.argv.slice(2)], {
  stdio: "inherit",
  env: workerEnvironment(),
});
for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"]) process.on(signal, () => child.kill(signal));
child.once("error", (error) => {
  process.stderr.write(`vqd: cannot run Node 24: ${error.message}\n`);
  process.exit(1);
});
child.once("exit", (code, signal) => process.exit(code ?? 128 + constants.signals[signal]));
