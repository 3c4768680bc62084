// A supervised child: starts, restarts, and ends with all that it has started.

import { afterEach, expect, it } from "vitest";
import { Child, type ChildSpec } from "../../infra/stack/children/child.ts";
import { isGroupAlive } from "../../infra/stack/children/group.ts";
import { type LogLine, parseJsonLog } from "../../infra/stack/log.ts";

const lines: LogLine[] = [];
const children: Child[] = [];
afterEach(async () => {
  await Promise.all(children.splice(0).map((running) => running.stop()));
  lines.length = 0;
});

/** Runs `script` in Node; it serves once it prints "up". */
function child(script: string, overrides: Partial<ChildSpec> = {}): Child {
  const made = new Child(
    {
      name: "thing",
      command: process.execPath,
      args: ["--eval", script],
      cwd: "/",
      env: process.env,
      parser: () => parseJsonLog,
      ready: async ({ line }) => void (await line(/^up/)),
      readyLimitMs: 10_000,
      stopLimitMs: 5_000,
      ...overrides,
    },
    { log: (line) => lines.push(line), onProcess: () => {} },
  );
  children.push(made);
  return made;
}

const STAY = "setInterval(() => {}, 1e6);";
const texts = (source: string): string[] =>
  lines.filter((line) => line.source === source).map(({ text }) => text);

it("starts, says its pid, passes its lines on, and stops", async () => {
  const thing = child(`console.error("aside"); console.log("up"); ${STAY}`);
  await thing.start();
  const { pid } = thing;
  expect(thing.state).toBe("ready");
  expect(texts("stack")).toEqual([`thing pid ${pid}`]);
  await thing.waitReady();
  await thing.stop();
  expect(thing.state).toBe("stopped");
  expect(thing.pid).toBeUndefined();
  expect(isGroupAlive(pid ?? 0)).toBe(false);
  expect(texts("thing").toSorted()).toEqual(["aside", "up"]);
  await expect(thing.waitReady()).rejects.toThrow("thing is stopped");
  await thing.stop();
});

it("is restarted after it was killed, and says how it ended", async () => {
  const thing = child(`console.log("up"); ${STAY}`);
  await thing.start();
  const { pid } = thing;
  await thing.kill("SIGKILL");
  expect(thing.state).toBe("waiting");
  await thing.waitReady();
  expect(thing.restarts).toBe(1);
  expect(thing.pid).not.toBe(pid);
  expect(texts("stack")).toEqual([
    `thing pid ${pid}`,
    `thing (pid ${pid}) was killed by SIGKILL; restarting in 0.25 s`,
    `thing pid ${thing.pid}`,
  ]);
});

it("waits longer before each restart that fails", async () => {
  // Serves once and then never again, for the file that it makes is there.
  const marker = `/tmp/vqd-child-${process.pid}-${Date.now()}`;
  const thing = child(
    `const fs = require("node:fs"); const m = ${JSON.stringify(marker)};
     if (fs.existsSync(m)) { const n = Number(fs.readFileSync(m)); fs.writeFileSync(m, String(n + 1));
       if (n < 2) { console.error("broken"); process.exit(7); } fs.rmSync(m); }
     else fs.writeFileSync(m, "0");
     console.log("up"); ${STAY}`,
  );
  await thing.start();
  const { pid } = thing;
  await thing.kill("SIGTERM");
  await thing.waitReady();
  expect(thing.restarts).toBe(3);
  const ends = texts("stack").filter((text) => text.includes("restarting"));
  expect(ends[0]).toBe(`thing (pid ${pid}) was killed by SIGTERM; restarting in 0.25 s`);
  expect(ends[1]).toMatch(/^thing \(pid \d+\) exited with code 7:\n {2}broken; restarting in 0\.50 s$/);
  expect(ends[2]).toMatch(/restarting in 1\.00 s$/);
});

it("gives up when the first start fails, with the last words of the process", async () => {
  const thing = child('console.error("no model"); process.exit(3);');
  await expect(thing.start()).rejects.toThrow(/^thing \(pid \d+\) exited with code 3:\n {2}no model$/);
  expect(thing.state).toBe("stopped");
});

it("gives up on a first start that takes too long", async () => {
  const thing = child(STAY, { readyLimitMs: 300 });
  await expect(thing.start()).rejects.toThrow("thing was not ready within 0.3 s");
  expect(thing.pid).toBeUndefined();
});

it("says which program cannot be started", async () => {
  const thing = child("", { command: "/no/such/program" });
  await expect(thing.start()).rejects.toThrow(/thing could not be started: .*\/no\/such\/program/);
});

const WITH_GRANDCHILD = `
  const grandchild = require("node:child_process").spawn(process.execPath, ["--eval", ${JSON.stringify(STAY)}]);
  console.log("up " + grandchild.pid);`;

it.each(["stop", "kill"] as const)("leaves nothing of its group running after %s", async (how) => {
  const thing = child(`${WITH_GRANDCHILD} ${STAY}`);
  await thing.start();
  const pid = thing.pid ?? 0;
  await thing[how]();
  await expect.poll(() => isGroupAlive(pid)).toBe(false);
});

it("kills a process that does not stop in time", async () => {
  const thing = child(`process.on("SIGTERM", () => {}); console.log("up"); ${STAY}`, { stopLimitMs: 200 });
  await thing.start();
  await thing.stop();
  expect(thing.pid).toBeUndefined();
  expect(texts("stack").at(-1)).toBe("thing did not stop within 0.2 s; killing it");
});

it("can be stopped while it starts, and while it waits for its restart", async () => {
  const starting = child(STAY);
  const start = starting.start();
  const refused = expect(start).rejects.toThrow(/was killed by SIGTERM/);
  await starting.stop();
  await refused;

  const waiting = child(`console.log("up"); ${STAY}`);
  await waiting.start();
  await waiting.kill();
  await waiting.stop();
  expect(waiting.state).toBe("stopped");
  expect(waiting.restarts).toBe(0);
});
