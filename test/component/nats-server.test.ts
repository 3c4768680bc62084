// Finding nats-server, and getting it: package managers, and the official release with its checksum.

import { createHash } from "node:crypto";
import { chmodSync, existsSync, mkdirSync, readFileSync, statSync, writeFileSync } from "node:fs";
import { mkdtemp, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { gzipSync } from "node:zlib";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { installRelease, releaseFor } from "../../infra/nats/release.ts";
import { ensureNatsServer, findNatsServer } from "../../infra/nats/server.ts";

let dir: string;
beforeEach(async () => {
  dir = await mkdtemp(join(tmpdir(), "vqd-nats-"));
});
afterEach(() => rm(dir, { recursive: true, force: true }));

/** A program that answers `-v` as nats-server does. */
function fakeServer(folder: string, version: string): string {
  mkdirSync(folder, { recursive: true });
  const path = join(folder, "nats-server");
  writeFileSync(path, `#!/bin/sh\necho "nats-server: v${version}"\n`);
  chmodSync(path, 0o755);
  return path;
}

/** An archive with the entries of a real one, of which only `nats-server` is wanted. */
function archive(name: string, binary: string): Buffer {
  const entry = (path: string, contents: string): Buffer => {
    const header = Buffer.alloc(512);
    header.write(path, 0);
    header.write(contents.length.toString(8).padStart(11, "0"), 124);
    const padding = Buffer.alloc((512 - (contents.length % 512)) % 512);
    return Buffer.concat([header, Buffer.from(contents), padding]);
  };
  return gzipSync(
    Buffer.concat([
      entry(`${name}/README.md`, "#".repeat(700)),
      entry(`${name}/nats-server`, binary),
      Buffer.alloc(1024),
    ]),
  );
}
const sha256 = (bytes: Uint8Array): string => createHash("sha256").update(bytes).digest("hex");

const search = (env: NodeJS.ProcessEnv = {}) => ({
  binDir: join(dir, "bin"),
  env: { PATH: join(dir, "path"), ...env },
  extraDirs: [join(dir, "usual")],
});

describe("findNatsServer", () => {
  it("prefers PATH, then the usual folders, then what was downloaded", async () => {
    expect(await findNatsServer(search())).toBeUndefined();
    const downloaded = fakeServer(join(dir, "bin"), "2.11.17");
    expect(await findNatsServer(search())).toEqual({ path: downloaded, version: "2.11.17" });
    const usual = fakeServer(join(dir, "usual"), "2.9.10");
    expect(await findNatsServer(search())).toEqual({ path: usual, version: "2.9.10" });
    const onPath = fakeServer(join(dir, "path"), "2.10.27");
    expect(await findNatsServer(search())).toEqual({ path: onPath, version: "2.10.27" });
  });

  it("passes over one that is too old, or is no nats-server", async () => {
    fakeServer(join(dir, "path"), "2.8.4");
    const usual = fakeServer(join(dir, "usual"), "10.0.0");
    expect((await findNatsServer(search()))?.path).toBe(usual);
    writeFileSync(usual, "#!/bin/sh\nexit 3\n");
    expect(await findNatsServer(search())).toBeUndefined();
  });

  it("takes VQD_NATS_SERVER or nothing", async () => {
    fakeServer(join(dir, "path"), "2.10.27");
    const given = fakeServer(join(dir, "given"), "2.9.0");
    expect(await findNatsServer(search({ VQD_NATS_SERVER: given }))).toEqual({
      path: given,
      version: "2.9.0",
    });
    const missing = join(dir, "missing");
    await expect(findNatsServer(search({ VQD_NATS_SERVER: missing }))).rejects.toThrow(
      `VQD_NATS_SERVER: ${missing} is not`,
    );
    const old = fakeServer(join(dir, "old"), "2.8.4");
    await expect(findNatsServer(search({ VQD_NATS_SERVER: old }))).rejects.toThrow("2.8.4, older than 2.9");
  });
});

describe("ensureNatsServer", () => {
  it("tries the sources in turn and says what it does", async () => {
    const said: string[] = [];
    const server = await ensureNatsServer({
      ...search(),
      log: (message) => said.push(message),
      sources: [
        { name: "absent", applies: false, install: () => Promise.reject(new Error("must not be tried")) },
        { name: "broken", applies: true, install: () => Promise.reject(new Error("no network")) },
        {
          name: "working",
          applies: true,
          install(log) {
            log("getting it");
            fakeServer(join(dir, "bin"), "2.11.17");
            return Promise.resolve();
          },
        },
      ],
    });
    expect(server).toEqual({ path: join(dir, "bin", "nats-server"), version: "2.11.17" });
    expect(said).toEqual(["getting it"]);
  });

  it("otherwise says what was tried and what to do", async () => {
    const sources = [
      { name: "apt-get", applies: true, install: () => Promise.reject(new Error("no network")) },
      {
        name: "brew",
        applies: true,
        install() {
          fakeServer(join(dir, "usual"), "2.8.4");
          return Promise.resolve();
        },
      },
    ];
    const failing = ensureNatsServer({ ...search(), log: () => {}, sources });
    await expect(failing).rejects.toThrow(
      /tried apt-get: no network\n.*tried brew: .*not nats-server 2\.9[^]*sudo apt-get install[^]*VQD_NATS_SERVER/,
    );
  });
});

describe("ensureNatsServer that prefers a current one", () => {
  const ensure = (env: NodeJS.ProcessEnv = {}) => {
    const said: string[] = [];
    const server = ensureNatsServer({
      ...search(env),
      prefersCurrent: true,
      log: (message) => said.push(message),
      download: () => Promise.reject(new Error("no network")),
    });
    return { server, said };
  };

  it.runIf(process.platform === "linux")("does with an old one if the download fails", async () => {
    const old = fakeServer(join(dir, "path"), "2.12.6");
    const { server, said } = ensure();
    expect(await server).toEqual({ path: old, version: "2.12.6" });
    expect(said).toEqual([
      expect.stringMatching(/^nats-server 2\.12\.6 is old; downloading 2\.\d+\.\d+ from https:/),
      "continuing with nats-server 2.12.6: no network",
    ]);
  });

  it("takes the one that it downloads rather than an old one that a package manager has just installed", async () => {
    const bytes = archive("nats-server-v2", '#!/bin/sh\necho "nats-server: v2.14.5"\n');
    const release = { name: "nats-server-v2", version: "2.14.5", url: "https://example.org/x" };
    const server = await ensureNatsServer({
      ...search(),
      prefersCurrent: true,
      log: () => {},
      sources: [
        {
          name: "old",
          applies: true,
          install: () => Promise.resolve(void fakeServer(join(dir, "usual"), "2.9.10")),
        },
      ],
      download: () => Promise.resolve(bytes),
      release: { ...release, sha256: sha256(bytes) },
    });
    expect(server).toEqual({ path: join(dir, "bin", "nats-server"), version: "2.14.5" });
  });

  it("takes what it has downloaded, unless that does not run here", async () => {
    const old = fakeServer(join(dir, "path"), "2.12.6");
    const said: string[] = [];
    const path = join(dir, "bin", "nats-server");
    const install = (binary: string) => {
      const bytes = archive("nats-server-v2", binary);
      const release = { name: "nats-server-v2", version: "2.14.5", url: "https://example.org/x" };
      return ensureNatsServer({
        ...search(),
        prefersCurrent: true,
        log: (message) => said.push(message),
        download: () => Promise.resolve(bytes),
        release: { ...release, sha256: sha256(bytes) },
      });
    };
    expect(await install("#!/bin/sh\nexit 126\n")).toEqual({ path: old, version: "2.12.6" });
    expect(said.at(-1)).toBe(`continuing with nats-server 2.12.6: ${path} does not run on this machine`);
    const current = await install('#!/bin/sh\necho "nats-server: v2.14.5"\n');
    expect(current).toEqual({ path, version: "2.14.5" });
  });

  it("takes the one downloaded before, and downloads nothing for a current one or another's choice", async () => {
    fakeServer(join(dir, "path"), "2.9.10");
    const downloaded = fakeServer(join(dir, "bin"), "2.14.5");
    expect(await ensure().server).toEqual({ path: downloaded, version: "2.14.5" });
    const given = fakeServer(join(dir, "given"), "2.9.0");
    const chosen = ensure({ VQD_NATS_SERVER: given });
    expect((await chosen.server).path).toBe(given);
    const current = fakeServer(join(dir, "path"), "2.12.7");
    const { server, said } = ensure();
    expect((await server).path).toBe(current);
    expect([...chosen.said, ...said]).toEqual([]);
  });
});

describe("installRelease", () => {
  it("unpacks the binary, executable", async () => {
    const bytes = archive("nats-server-v1", "#!/bin/sh\necho nats-server: v2.11.17\n");
    const release = { name: "nats-server-v1", url: "https://example.org/x", sha256: sha256(bytes) };
    const path = await installRelease(release, join(dir, "bin"), () => Promise.resolve(bytes));
    expect(readFileSync(path, "utf8")).toContain("2.11.17");
    expect(statSync(path).mode & 0o777).toBe(0o755);
    expect((await findNatsServer(search()))?.path).toBe(path);
  });

  it("refuses an archive with another checksum, and one without the binary", async () => {
    const bytes = archive("nats-server-v1", "x");
    const release = { name: "nats-server-v1", url: "https://example.org/x", sha256: "0".repeat(64) };
    await expect(installRelease(release, join(dir, "bin"), () => Promise.resolve(bytes))).rejects.toThrow(
      `https://example.org/x has SHA-256 ${sha256(bytes)} instead of 000`,
    );
    const other = { ...release, name: "nats-server-v2", sha256: sha256(bytes) };
    await expect(installRelease(other, join(dir, "bin"), () => Promise.resolve(bytes))).rejects.toThrow(
      "has no nats-server-v2/nats-server",
    );
    expect(existsSync(join(dir, "bin"))).toBe(false);
  });

  it("knows the platforms that it has a checksum for, and no others", () => {
    const version = releaseFor("linux", "x64")?.version ?? "";
    expect(releaseFor("linux", "x64")).toEqual({
      name: `nats-server-v${version}-linux-amd64`,
      version: expect.stringMatching(/^\d+\.\d+\.\d+$/) as string,
      url: `https://github.com/nats-io/nats-server/releases/download/v${version}/nats-server-v${version}-linux-amd64.tar.gz`,
      sha256: expect.stringMatching(/^[0-9a-f]{64}$/) as string,
    });
    expect(releaseFor("linux", "arm64")?.name).toMatch(/linux-arm64$/);
    expect(releaseFor("darwin", "arm64")?.name).toMatch(/darwin-arm64$/);
    expect(releaseFor("darwin", "x64")).toBeUndefined();
    expect(releaseFor("linux", "mips")).toBeUndefined();
  });
});
