// Runs a self-hosted edge: workerd with a program from infra/edge/program.ts, and the public port in front of it. The image has
// no packages, so this and what it imports use only Node's own modules, and each other by path.

import { spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { connect, type Server } from "node:net";
import { join, resolve } from "node:path";
import { createInterface } from "node:readline";
import { setTimeout as delay } from "node:timers/promises";
import { parseArgs, parseEnv } from "node:util";
import { printable } from "../../shared/log.ts";
import { openFront } from "./front.ts";
import { workerdEntry } from "./workerd-log.ts";
import { FOLDERS, type ProgramSettings, SOCKET, workerdConfig } from "./workerd-config.ts";
import { adoptWranglerData } from "./wrangler-data.ts";

const CONFIG = "workerd.capnp";
const POLL_MS = 5;
/** How long requests may take to finish once it is told to stop; event streams do not end by themselves. */
const DRAIN_MS = 2_000;

function readOptions() {
  const { values } = parseArgs({
    options: {
      program: { type: "string" },
      data: { type: "string" },
      "env-file": { type: "string" },
      host: { type: "string", default: "127.0.0.1" },
      port: { type: "string" },
    },
  });
  const { program, data, "env-file": envFile, host, port } = values;
  if (program === undefined || data === undefined || envFile === undefined || port === undefined) {
    throw new Error("serve needs --program, --data, --env-file and --port");
  }
  return { programDir: resolve(program), data: resolve(data), envFile, host, port: Number(port) };
}

function say(level: "info" | "warn" | "error", msg: string, part = "serve", fields: object = {}): void {
  const line = JSON.stringify({ time: new Date().toISOString(), level, msg, part, ...fields });
  process.stdout.write(`${printable(line)}\n`);
}

/** PEM of each authority in the file that Node reads additional ones from. */
function extraAuthorities(): string[] {
  const file = process.env["NODE_EXTRA_CA_CERTS"];
  if (!file) return [];
  return readFileSync(file, "utf8").match(/-----BEGIN CERTIFICATE-----[^]+?-----END CERTIFICATE-----/g) ?? [];
}

/** Whether workerd listens. */
async function accepts(): Promise<boolean> {
  const socket = connect(SOCKET);
  try {
    await once(socket, "connect");
    return true;
  } catch {
    return false;
  } finally {
    socket.destroy();
  }
}

async function main(): Promise<void> {
  const { programDir, data, envFile, host, port } = readOptions();
  const settings = JSON.parse(readFileSync(join(programDir, "settings.json"), "utf8")) as ProgramSettings;
  const given = parseEnv(readFileSync(envFile, "utf8")) as Record<string, string>;
  const variables = { ...settings.variables, ...given };
  // No other user may read prompts, images and keys, whatever mode workerd creates its files with.
  process.umask(0o077);
  mkdirSync(data, { recursive: true });
  // The path of a Unix socket is limited to about 100 bytes, so it is relative.
  process.chdir(data);
  for (const folder of [".", ...Object.values(FOLDERS)]) {
    mkdirSync(folder, { recursive: true });
    chmodSync(folder, 0o700);
  }
  for (const folder of adoptWranglerData(".")) {
    say("warn", "not adopted: the data of a newer release is there", "serve", { folder: join(data, folder) });
  }
  writeFileSync(CONFIG, workerdConfig({ programDir, settings, variables, authorities: extraAuthorities() }));
  rmSync(SOCKET, { force: true });

  const workerd = spawn(join(programDir, "workerd"), ["serve", "--import-path", "/", CONFIG, "config"], {
    env: variables,
    stdio: ["ignore", "inherit", "pipe"],
  });
  createInterface({ input: workerd.stderr }).on("line", (line) => {
    const entry = workerdEntry(line);
    if (entry !== undefined) say(entry.level, entry.msg, "workerd");
  });
  process.once("exit", () => {
    workerd.kill("SIGKILL");
    rmSync(SOCKET, { force: true });
  });
  let isStopping = false;
  let front: Server | undefined;
  const stop = (): void => {
    if (isStopping) return;
    isStopping = true;
    front?.close();
    workerd.kill("SIGTERM");
    setTimeout(() => workerd.kill("SIGKILL"), DRAIN_MS);
  };
  for (const signal of ["SIGTERM", "SIGINT"] as const) process.on(signal, stop);
  // The stack, which started this process with a channel, is gone.
  process.once("disconnect", stop);
  process.channel?.unref();

  const open = async (): Promise<void> => {
    while (!(await accepts())) await delay(POLL_MS);
    if (isStopping) return;
    front = await openFront({ host, port, socket: SOCKET });
    say("info", "listening", "serve", { host, port });
  };
  const ended = once(workerd, "exit");
  await Promise.race([open(), ended]);
  const [code, signal] = await ended;
  if (!isStopping) throw new Error(`workerd exited: ${String(signal ?? `code ${code}`)}`);
}

try {
  await main();
  process.exit(0);
} catch (error) {
  say("error", error instanceof Error ? error.message : String(error));
  process.exit(1);
}
