// `npm start` as a person runs it: what it prints, what it stops, what it recovers from.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { chmodSync, lstatSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync } from "node:fs";
import { type AddressInfo, createServer } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { afterEach, beforeEach, expect, it } from "vitest";
import { isGroupAlive } from "../../infra/stack/children/group.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { isPortFree } from "../../infra/stack/ports.ts";

const TINY = join(REPO, "test", "fixtures", "tiny", "checkpoint");
const PNG_SIGNATURE = "89504e470d0a1a0a";

let dir: string;
const started: Start[] = [];
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "vqd-start-"));
});
afterEach(async () => {
  for (const start of started.splice(0)) await start.end("SIGTERM");
  rmSync(dir, { recursive: true, force: true });
});

interface Command {
  readonly command: string;
  readonly args: readonly string[];
}
const DIRECTLY: Command = { command: process.execPath, args: [join(REPO, "infra", "run.mjs"), "start"] };
const BY_NPM: Command = { command: "npm", args: ["--silent", "start", "--"] };

/** A running `npm start`. */
class Start {
  readonly lines: string[] = [];
  readonly process: ChildProcess;
  readonly exited: Promise<unknown[]>;

  constructor(args: readonly string[], env: NodeJS.ProcessEnv = {}, by = DIRECTLY) {
    const all = [...by.args, "--data", join(dir, "data"), "--model", TINY, ...args];
    this.process = spawn(by.command, all, {
      cwd: REPO,
      env: { ...process.env, NO_COLOR: "1", ...env },
      stdio: ["ignore", "pipe", "pipe"],
    });
    for (const stream of [this.process.stdout, this.process.stderr]) {
      let text = "";
      stream?.setEncoding("utf8").on("data", (piece: string) => {
        const lines = (text + piece).split("\n");
        text = lines.pop() ?? "";
        this.lines.push(...lines);
      });
    }
    this.exited = once(this.process, "close");
    started.push(this);
  }

  /** The first match in a line after the first `from` lines. */
  async line(pattern: RegExp, from = 0): Promise<RegExpExecArray> {
    let match: RegExpExecArray | null = null;
    await expect
      .poll(
        () => {
          for (const line of this.lines.slice(from)) match ??= pattern.exec(line);
          if (match === null && this.process.exitCode !== null) throw new Error(this.lines.join("\n"));
          return match;
        },
        { timeout: 60_000, message: String(pattern) },
      )
      .not.toBeNull();
    return match as unknown as RegExpExecArray;
  }

  async url(): Promise<string> {
    return (await this.line(/^ready on (.*)$/))[1] ?? "";
  }

  /** Ids of all processes it said it had started. */
  get pids(): number[] {
    return this.lines
      .flatMap((line) => /^(?:nats|edge|worker \d+) pid (\d+)$/.exec(line)?.[1] ?? [])
      .map(Number);
  }

  async end(signal: NodeJS.Signals): Promise<number | null> {
    this.process.kill(signal);
    const [code] = await this.exited;
    return code as number | null;
  }
}

it("prints what one needs when it is ready, and its curl line makes an image", async () => {
  const start = new Start(["--port", "0", "--workers", "2"]);
  const url = await start.url();
  // The edge logs the request by which the stack has seen its models, in its own time.
  expect(start.lines.findLast((line) => !line.startsWith("edge "))).toBe(`ready on ${url}`);
  expect(start.pids).toHaveLength(4);
  await start.line(/^nats pid \d+$/);
  await start.line(/^worker 1 pid \d+$/);
  await start.line(/^worker 2 pid \d+$/);
  const key = (await start.line(/^API key: (vqd_\S{32})$/))[1] ?? "";

  const [, curl = ""] = await start.line(/^\s+(curl .*)$/);
  expect(curl).toContain(key);
  await promisify(execFile)("sh", ["-c", curl], { cwd: dir });
  const png = readFileSync(join(dir, "cat.png"));
  expect(png.subarray(0, 8).toString("hex")).toBe(PNG_SIGNATURE);

  const pids = start.pids;
  expect(await start.end("SIGINT")).toBe(0);
  expect(start.lines.at(-1)).toBe("stopped");
  expect(pids.filter(isGroupAlive)).toEqual([]);
  // The log had no room for secrets: only the line that is for it, curl's and the link to the page have the key.
  expect(start.lines.filter((line) => line.includes(key))).toHaveLength(3);
});

it("starts without workers, and says how one elsewhere comes to it", async () => {
  const start = new Start(["--port", "0", "--workers", "0"]);
  const url = await start.url();
  expect(start.pids).toHaveLength(2);
  expect((await fetch(`${url}/healthz`)).status).toBe(503);
  const [, natsUrl = "", file = ""] = await start.line(
    /^no workers: start some with VQD_NATS_URL=(\S+) and the user "worker" of (\S+)$/,
  );
  const passwords = JSON.parse(readFileSync(file, "utf8")) as { worker: string };
  const worker = spawn(process.execPath, [join(REPO, "infra", "run.mjs"), "worker"], {
    env: {
      ...process.env,
      VQD_NATS_URL: natsUrl,
      VQD_NATS_USER: "worker",
      VQD_NATS_PASSWORD: passwords.worker,
      VQD_MODEL: TINY,
      VQD_CACHE: join(dir, "cache"),
      VQD_HEALTH_PORT: "0",
    },
    stdio: "ignore",
  });
  try {
    await expect.poll(async () => (await fetch(`${url}/healthz`)).status, { timeout: 30_000 }).toBe(200);
  } finally {
    worker.kill();
  }
  expect(await once(worker, "exit")).toEqual([0, null]);
});

it("restarts whatever is killed, and serves again", async () => {
  const start = new Start(["--port", "0", "--api-key", "given"]);
  const url = await start.url();
  for (const name of ["nats", "worker 1", "edge"]) {
    const [, pid] = await start.line(new RegExp(`^${name} pid (\\d+)$`));
    const from = start.lines.length;
    process.kill(Number(pid), "SIGKILL");
    await start.line(
      new RegExp(`^error: ${name} \\(pid ${pid}\\) was killed by SIGKILL; restarting in 0\\.25 s$`),
      from,
    );
    await start.line(new RegExp(`^${name} pid \\d+$`), from);
  }
  const generate = (): Promise<Response> =>
    fetch(`${url}/v1/images/generations`, {
      method: "POST",
      headers: { authorization: "Bearer given", "content-type": "application/json" },
      body: JSON.stringify({ prompt: "apple", seed: 1, num_inference_steps: 2 }),
    });
  await expect
    .poll(async () => (await generate().catch(() => undefined))?.status, { timeout: 100_000 })
    .toBe(200);
  const pids = start.pids;
  expect(pids).toHaveLength(6);
  expect(await start.end("SIGTERM")).toBe(0);
  expect(pids.filter(isGroupAlive)).toEqual([]);
});

it("clears up after a start that was killed, and refuses to run beside one that lives", async () => {
  const first = new Start(["--port", "0"]);
  const port = Number(new URL(await first.url()).port);
  const [, stackPid] = await new Start(["--port", "0"]).line(
    /^error: another stack \(pid (\d+)\) is running on .*--data$/,
  );
  const leftPids = first.pids;
  process.kill(Number(stackPid), "SIGKILL");
  await first.exited;
  expect(leftPids.some(isGroupAlive)).toBe(true);

  const second = new Start(["--port", String(port)]);
  expect(await second.url()).toBe(`http://127.0.0.1:${port}`);
  await second.line(/was killed; stopping what it left running: .*nats/);
  expect(leftPids.filter(isGroupAlive)).toEqual([]);
});

it.each<NodeJS.Signals>(["SIGTERM", "SIGKILL"])("ends when npm is sent %s", async (signal) => {
  const start = new Start(["--port", "0", "--workers", "0"], {}, BY_NPM);
  await start.url();
  const { pids } = start;
  expect(pids).toHaveLength(2);
  start.process.kill(signal);
  await expect.poll(() => pids.some(isGroupAlive), { timeout: 20_000 }).toBe(false);
  // The output is closed when the last process has ended.
  await start.exited;
  expect(start.lines).toContain("stopped");
});

it("stores nothing that other users can read, not even in folders that an earlier release created", async () => {
  const data = join(dir, "data");
  for (const folder of ["edge", "nats", "cache"]) {
    mkdirSync(join(data, folder), { recursive: true });
    chmodSync(join(data, folder), 0o755);
  }
  const start = new Start(["--port", "0", "--api-key", "given"]);
  const url = await start.url();
  const answer = await fetch(`${url}/v1/images/generations`, {
    method: "POST",
    headers: { authorization: "Bearer given", "content-type": "application/json" },
    body: JSON.stringify({ prompt: "apple", seed: 1 }),
  });
  expect(answer.status).toBe(200);
  const paths = readdirSync(data, { recursive: true, encoding: "utf8" });
  for (const kind of [/^edge\/files\/.*\.png$/, /^edge\/objects\/.*\.sqlite$/, /^nats\/store\/.*\.blk$/]) {
    expect(paths).toContainEqual(expect.stringMatching(kind));
  }
  const open = paths.filter((path) => {
    // The pages of the repository, by a link.
    if (path.startsWith("edge/program/pages")) return false;
    const stat = lstatSync(join(data, path));
    return !stat.isSymbolicLink() && (stat.mode & 0o077) !== 0;
  });
  expect(open).toEqual([]);
});

it("takes another port if its own is taken, but not another than the one it was given", async () => {
  const server = createServer().listen(0, "127.0.0.1");
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  const refused = new Start(["--port", String(port)]);
  await refused.line(new RegExp(`^error: port ${port} is in use$`));
  expect((await refused.exited)[0]).toBe(1);
  server.close();

  const isDefaultFree = await isPortFree(8787);
  const holder = isDefaultFree ? createServer().listen(8787, "127.0.0.1") : undefined;
  const start = new Start([]);
  expect(await start.url()).not.toContain(":8787");
  await start.line(/^port 8787 is in use; using a free one$/);
  holder?.close();
});

it("leaves nothing behind when it is stopped before it is ready, or when a worker cannot start", async () => {
  const early = new Start(["--port", "0"]);
  await early.line(/^worker 1 pid/);
  expect(await early.end("SIGTERM")).toBe(0);
  expect(early.pids.filter(isGroupAlive)).toEqual([]);

  const broken = new Start(["--port", "0"], { VQD_SLOTS: "none" });
  expect((await broken.exited)[0]).toBe(1);
  await broken.line(/^error: worker 1 \(pid \d+\) exited with code 1:$/);
  await broken.line(/VQD_SLOTS/);
  expect(broken.pids.filter(isGroupAlive)).toEqual([]);
});

it("answers a wrong option with its name, and --help without starting anything", async () => {
  const wrong = new Start(["--prot", "1"]);
  expect((await wrong.exited)[0]).toBe(2);
  expect(wrong.lines).toEqual(["error: unknown option --prot (see --help)"]);
  const help = new Start(["--help"]);
  expect((await help.exited)[0]).toBe(0);
  expect(help.lines[0]).toBe("Usage: npm start -- [options]");
});
