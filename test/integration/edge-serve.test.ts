// The runtime of a self-hosted edge, with a Worker in the edge's place that shows what its bindings do.

import { type ChildProcess, execFileSync, fork } from "node:child_process";
import { once } from "node:events";
import { copyFileSync, existsSync, mkdtempSync, readdirSync, rmSync, statSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import { type AddressInfo, connect, type Socket } from "node:net";
import { hostname, tmpdir } from "node:os";
import { join } from "node:path";
import { createInterface } from "node:readline";
import { afterAll, afterEach, beforeAll, expect, it } from "vitest";
import { buildProgram } from "../../infra/edge/program.ts";
import { isGroupAlive } from "../../infra/stack/children/group.ts";
import { EDGE_SERVE } from "../../infra/stack/paths.ts";
import { freePorts, isPortFree } from "../../infra/stack/ports.ts";

const WAIT = { timeout: 20_000, interval: 10 };

let program: string;
let outer: string;
beforeAll(async () => {
  outer = mkdtempSync(join(tmpdir(), "vqd-serve-"));
  program = join(outer, "program");
  await buildProgram(program);
  copyFileSync(join(import.meta.dirname, "support", "probe-worker.js"), join(program, "edge.js"));
});
afterAll(() => rmSync(outer, { recursive: true, force: true }));

const running: Runtime[] = [];
afterEach(async () => {
  for (const runtime of running.splice(0)) await runtime.stop();
});

class Runtime {
  readonly data = mkdtempSync(join(outer, "data-"));
  readonly lines: string[] = [];
  readonly process: ChildProcess;
  readonly exited: Promise<unknown[]>;
  readonly port: number;

  private constructor(port: number, variables: Readonly<Record<string, string>>) {
    this.port = port;
    const envFile = `${this.data}.env`;
    writeFileSync(
      envFile,
      Object.entries(variables)
        .map(([name, value]) => `${name}='${value}'\n`)
        .join(""),
    );
    const args = ["--program", program, "--data", this.data, "--env-file", envFile, "--port", String(port)];
    this.process = fork(EDGE_SERVE, args, { detached: true, stdio: ["ignore", "pipe", "inherit", "ipc"] });
    if (this.process.stdout === null) throw new Error("no output");
    createInterface({ input: this.process.stdout }).on("line", (line) => this.lines.push(line));
    this.exited = once(this.process, "exit");
    running.push(this);
  }

  /** On a free port unless one is given. */
  static async start(variables: Readonly<Record<string, string>> = {}, port?: number): Promise<Runtime> {
    const [free = 0] = await freePorts(1);
    const runtime = new Runtime(port ?? free, variables);
    await Promise.race([
      runtime.says("listening"),
      runtime.exited.then(() => Promise.reject(new Error(runtime.lines.join("\n")))),
    ]);
    return runtime;
  }

  async says(text: string): Promise<void> {
    await expect.poll(() => this.lines.join("\n"), WAIT).toContain(text);
  }

  get(path: string, init?: RequestInit): Promise<Response> {
    return fetch(`http://127.0.0.1:${this.port}${path}`, init);
  }

  async json(path: string, init?: RequestInit): Promise<unknown> {
    return (await this.get(path, init)).json();
  }

  /** What the process has left running of its own. */
  isAlive(): boolean {
    return isGroupAlive(this.process.pid ?? 0);
  }

  async stop(): Promise<void> {
    this.process.kill("SIGTERM");
    await this.exited;
    expect(this.isAlive()).toBe(false);
  }
}

it("passes on the variables of wrangler.toml and of the file unchanged", async () => {
  const secret = ' a "b" $HOME ${HOME} \\n # c\nsecond line ';
  const runtime = await Runtime.start({ NATS_CREDS: secret, HUB_SHARDS: "3", EMPTY: "" });
  expect(await runtime.json("/env")).toMatchObject({
    NATS_CREDS: secret,
    HUB_SHARDS: "3",
    EMPTY: "",
    LOG_LEVEL: "info",
  });
  expect(await runtime.json("/env")).not.toHaveProperty("HOME");
});

it("stores images in files, and answers as R2 does", async () => {
  const runtime = await Runtime.start();
  const put = (key: string, body: string): Promise<Response> =>
    runtime.get(`/files/put?key=${key}`, { method: "POST", body });
  await put("abc/0.png", "first");
  await put("abc/1-2.webp", "second");
  const file = await runtime.get("/files/get?key=abc/0.png");
  expect(Object.fromEntries(file.headers)).toMatchObject({
    "content-length": "5",
    "content-type": "image/png",
  });
  expect(await file.text()).toBe("first");
  expect((await runtime.get("/files/get?key=abc/1-2.webp")).headers.get("content-type")).toBe("image/webp");

  const etag = file.headers.get("etag") ?? "";
  const ask = async (tags: string): Promise<number> =>
    (await runtime.get("/files/get?key=abc/0.png", { headers: { "if-none-match": tags } })).status;
  for (const tags of [etag, `W/${etag}`, `"x", ${etag}`, "*"]) expect(await ask(tags), tags).toBe(304);
  expect(await ask('"x"')).toBe(200);

  for (const key of ["abc/2.png", "none/0.png", "..%2Fkeys%2Fa"]) {
    expect((await runtime.get(`/files/get?key=${key}`)).status, key).toBe(404);
  }
  expect(await runtime.json("/files/list?prefix=abc/")).toEqual(["abc/0.png", "abc/1-2.webp"]);
  expect(await runtime.json("/files/list?prefix=none/")).toEqual([]);
  await runtime.get("/files/delete?key=abc/0.png&key=abc/9.png");
  expect(await runtime.json("/files/list?prefix=abc/")).toEqual(["abc/1-2.webp"]);
  await runtime.get("/files/delete?key=abc/1-2.webp");
  expect(readdirSync(join(runtime.data, "files"))).toEqual([]);
  // What the edge does not use is refused, not answered wrongly.
  expect(await runtime.json("/files/head")).toEqual({
    error: expect.stringMatching(/no such operation/) as string,
  });
});

it("reads keys from files, and cannot write them", async () => {
  const runtime = await Runtime.start();
  const name = `key:${"ab".repeat(32)}`;
  expect(await runtime.json(`/keys/get?name=${name}`)).toBeNull();
  expect(await runtime.json("/keys/list?prefix=key:")).toMatchObject({ keys: [] });
  for (const one of [name, "key:other"]) writeFileSync(join(runtime.data, "keys", one), '{"name":"alice"}');
  expect(await runtime.json(`/keys/get?name=${name}`)).toEqual({ name: "alice" });
  expect(await runtime.json("/keys/list?prefix=key:")).toMatchObject({
    keys: [{ name }],
    list_complete: false,
  });
  expect(await runtime.json("/keys/list?prefix=x")).toMatchObject({ keys: [], list_complete: true });
  expect((await runtime.get("/keys/put")).status).toBe(500);
  expect(readdirSync(join(runtime.data, "keys"))).not.toContain("key:planted");
});

/** Writes down which paths it is asked for, upgrades too. */
async function startReceiver() {
  const reached: string[] = [];
  const server = createServer((incoming, outgoing) => {
    reached.push(incoming.url ?? "");
    outgoing.end();
  });
  server.on("upgrade", (incoming, socket: Socket) => {
    reached.push(`upgrade ${incoming.url}`);
    socket.destroy();
  });
  server.listen(0);
  await once(server, "listening");
  const { port } = server.address() as AddressInfo;
  return { reached, port, [Symbol.asyncDispose]: async () => void (await once(server.close(), "close")) };
}

it("reaches private addresses only if the settings name them", async () => {
  await using receiver = await startReceiver();
  const { reached, port } = receiver;
  const local = `http://127.0.0.1:${port}`;
  const collector = `${local}/collector`;
  const runtime = await Runtime.start({
    NATS_URL: `ws://127.0.0.1:1, ws://127.0.0.1:${port}`,
    OTEL_EXPORTER_OTLP_ENDPOINT: `${collector}/`,
  });
  const refused = { error: expect.any(String) as string };
  // The name of this machine stands for any that leads to a private address.
  for (const url of [
    `${local}/a`,
    `http://localhost:${port}/b`,
    `http://${hostname()}:${port}/c`,
    `http://[::1]:${port}/d`,
  ]) {
    expect(await runtime.json(`/fetch?url=${url}`), url).toEqual(refused);
  }
  expect(await runtime.json(`/socket?url=ws://localhost:${port}/e`)).toEqual({ opened: false });
  expect(reached).toEqual([]);
  expect(await runtime.json(`/fetch?url=${collector}/v1/traces`)).toEqual({ status: 200 });
  await runtime.json(`/socket?url=ws://127.0.0.1:${port}/nats`);
  expect(reached).toEqual(["/collector/v1/traces", "upgrade /nats"]);
  expect(runtime.lines.filter((line) => line.includes("not allowed"))).toEqual([]);

  const developing = await Runtime.start({ WEBHOOK_ALLOW_LOOPBACK: "true" });
  expect(await developing.json(`/fetch?url=${local}/hook`)).toEqual({ status: 200 });
  expect(await developing.json(`/fetch?url=http://10.255.255.1:${port}/`)).toEqual(refused);

  reached.length = 0;
  const named = await Runtime.start({
    WEBHOOK_ALLOW_ORIGINS: `http://other.internal, http://${hostname()}:${port}`,
  });
  expect(await named.json(`/fetch?url=http://${hostname()}:${port}/hook`)).toEqual({ status: 200 });
  for (const url of [`${local}/a`, `http://localhost:${port}/b`, `https://${hostname()}:${port}/c`]) {
    expect(await named.json(`/fetch?url=${url}`), url).toEqual(refused);
  }
  expect(reached).toEqual(["/hook"]);
});

it.each(["/wait", "/stream"])(
  "notices at once when the client of %s disconnects, however it does",
  async (path) => {
    const runtime = await Runtime.start();
    const heard = (): number => runtime.lines.filter((line) => line === "left").length;
    const open = async (): Promise<Socket> => {
      const socket = connect(runtime.port, "127.0.0.1");
      const before = runtime.lines.filter((line) => line === "waiting").length;
      socket.write(`GET ${path} HTTP/1.1\r\nhost: a\r\n\r\n`);
      if (path === "/stream") await once(socket, "data");
      else
        await expect
          .poll(() => runtime.lines.filter((line) => line === "waiting").length, WAIT)
          .toBe(before + 1);
      return socket;
    };
    const leave = [
      (socket: Socket) => socket.end(),
      (socket: Socket) => socket.destroy(),
      (socket: Socket) => socket.resetAndDestroy(),
    ];
    for (const [index, way] of leave.entries()) {
      const socket = await open();
      socket.on("error", () => {});
      expect(heard()).toBe(index);
      way(socket);
      await expect.poll(heard, WAIT).toBe(index + 1);
      socket.destroy();
    }
  },
);

it("creates folders and files that no other user can read", async () => {
  const runtime = await Runtime.start();
  await runtime.get("/files/put?key=abc/0.png", { method: "POST", body: "x" });
  const inside = readdirSync(runtime.data, { recursive: true, encoding: "utf8" });
  expect(inside).toContain("files/abc/0.png");
  const modes = ["", ...inside].map((path) => {
    const stat = statSync(join(runtime.data, path));
    // What of a socket may be done with it is said by the folder, too.
    return [path, stat.mode & (stat.isFile() ? 0o177 : 0o077)];
  });
  expect(modes.filter(([, open]) => open !== 0)).toEqual([]);
});

it("ends when the process that started it does, and leaves nothing behind", async () => {
  const runtime = await Runtime.start();
  await runtime.get("/stream");
  runtime.process.disconnect();
  expect(await runtime.exited).toEqual([0, null]);
  expect(runtime.isAlive()).toBe(false);
  expect(existsSync(join(runtime.data, "workerd.sock"))).toBe(false);
  expect(await isPortFree(runtime.port)).toBe(true);
});

it("finishes requests before it stops", async () => {
  const runtime = await Runtime.start();
  const answer = runtime.get("/soon");
  await runtime.says("soon");
  runtime.process.kill("SIGTERM");
  expect(await (await answer).text()).toBe("done");
  expect(await runtime.exited).toEqual([0, null]);
});

it("says why it ends: workerd has died, or the port is taken", async () => {
  const runtime = await Runtime.start();
  await expect(Runtime.start({}, runtime.port)).rejects.toThrow(/EADDRINUSE/);
  process.kill(
    Number(execFileSync("pgrep", ["-P", String(runtime.process.pid)], { encoding: "utf8" })),
    "SIGKILL",
  );
  expect(await runtime.exited).toEqual([1, null]);
  await runtime.says("workerd exited: SIGKILL");
});
