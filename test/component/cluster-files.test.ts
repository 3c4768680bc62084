// `npm run cluster`: the folder of a NATS cluster, and what stays when it is made again.

import { execFile } from "node:child_process";
import { existsSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from "node:fs";
import { tmpdir } from "node:os";
import { dirname, join } from "node:path";
import { promisify } from "node:util";
import { createPrivateKey, X509Certificate } from "node:crypto";
import { afterEach, beforeEach, describe, expect, it } from "vitest";
import { DiffusersCheckpoint } from "../../gpu-worker/checkpoint/diffusers-layout.ts";
import { NODE, REPO } from "../../infra/stack/paths.ts";

let dir: string;
beforeEach(() => {
  dir = mkdtempSync(join(tmpdir(), "vqd-cluster-files-"));
});
afterEach(() => rmSync(dir, { recursive: true, force: true }));

async function cluster(...args: string[]): Promise<{ code: number; stdout: string; stderr: string }> {
  const main = join(REPO, "infra", "nats", "cluster", "main.ts");
  return promisify(execFile)(NODE, [main, ...args, "--dir", dir]).then(
    (output) => ({ code: 0, ...output }),
    (error: unknown) => error as { code: number; stdout: string; stderr: string },
  );
}

const read = (...path: string[]): string => readFileSync(join(dir, ...path), "utf8");
const KEY = "vqd--scenes--0123456789ab";
const MODEL = ["--model", KEY];
const NODES = ["n1=n1.example", "n2=n2.example", "n3=n3.example"];

it("holds a configuration and a certificate for each server, and credentials for each role", async () => {
  const { stdout } = await cluster("init", ...NODES);
  expect(stdout).toContain("wss://n1.example:8443,wss://n2.example:8443,wss://n3.example:8443");
  const config = JSON.parse(read("nodes", "n2", "nats-server.conf")) as Record<string, unknown>;
  expect(config).toMatchObject({
    server_name: "n2",
    tls: { cert_file: "/etc/nats/tls/node.pem", key_file: "/etc/nats/tls/node-key.pem" },
    cluster: {
      routes: ["nats-route://n1.example:6222", "nats-route://n3.example:6222"],
      tls: { verify: true },
    },
    jetstream: { store_dir: "/var/lib/nats" },
  });
  // A listener that nobody needs is none.
  expect(config).not.toHaveProperty("leafnodes");
  const certificate = new X509Certificate(read("nodes", "n2", "tls", "node.pem"));
  expect(certificate.checkHost("n2.example")).toBe("n2.example");
  expect(certificate.checkHost("n1.example")).toBeUndefined();
  expect(certificate.verify(new X509Certificate(read("ca.pem")).publicKey)).toBe(true);
  expect((await cluster("user", "worker", ...MODEL)).code).toBe(0);
  for (const role of ["edge", "worker", "monitor", "operator"]) {
    const path = join(dir, "creds", `${role}.creds`);
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, "utf8")).toMatch(/NATS USER JWT[^]+USER NKEY SEED/);
  }
  expect(statSync(join(dir, "operator", "keys.json")).mode & 0o777).toBe(0o600);
});

it("keeps keys, credentials and certificates when a server is added", async () => {
  await cluster("init", ...NODES);
  const before = [read("creds", "edge.creds"), read("nodes", "n1", "tls", "node.pem"), read("ca.pem")];
  const operator = (JSON.parse(read("nodes", "n1", "nats-server.conf")) as { operator: string }).operator;
  await cluster("init", ...NODES, "n4=n4.example", "n5=n5.example");
  expect([read("creds", "edge.creds"), read("nodes", "n1", "tls", "node.pem"), read("ca.pem")]).toEqual(
    before,
  );
  // A server takes up another operator only when it is started.
  expect(JSON.parse(read("nodes", "n1", "nats-server.conf"))).toMatchObject({ operator });
  expect(read("nodes", "n1", "nats-server.conf")).toContain("n5.example");
});

it("renews certificates under the same CA, makes leaf nodes where they are listened for, and revokes", async () => {
  await cluster("init", ...NODES);
  const old = read("nodes", "n1", "tls", "node.pem");
  await cluster("renew");
  expect(read("nodes", "n1", "tls", "node.pem")).not.toBe(old);
  expect((await cluster("leaf", "site=gpu.example", ...MODEL)).stderr).toContain("--leaf-nodes");
  await cluster("init", ...NODES, "--leaf-nodes");
  expect((await cluster("leaf", "site=gpu.example", ...MODEL)).code).toBe(0);
  expect(existsSync(join(dir, "leaves", "site", "leaf.creds"))).toBe(true);

  const { stdout } = await cluster("user", "worker", ...MODEL, "--name", "gpu-7", "--days", "30");
  const [key = ""] = /U[A-Z2-7]{55}/.exec(stdout) ?? [];
  expect((await cluster("revoke", join(dir, "creds", "gpu-7.creds"))).stdout).toContain(key);
  expect(read("operator", "keys.json")).toContain(key);
});

it("makes the certificate of a server anew when its host is another", async () => {
  await cluster("init", ...NODES, "--leaf-nodes");
  await cluster("leaf", "site=gpu.example", ...MODEL);
  const kept = read("nodes", "n2", "tls", "node.pem");
  await cluster("init", "n1=n1.other.example", ...NODES.slice(1));
  await cluster("leaf", "site=gpu.other.example", ...MODEL);
  for (const [server, host] of [
    ["nodes/n1", "n1"],
    ["leaves/site", "gpu"],
  ] as const) {
    const certificate = new X509Certificate(read(server, "tls", "node.pem"));
    expect(certificate.checkHost(`${host}.other.example`)).toBe(`${host}.other.example`);
    expect(certificate.checkHost(`${host}.example`)).toBeUndefined();
    expect(certificate.checkPrivateKey(createPrivateKey(read(server, "tls", "node-key.pem")))).toBe(true);
  }
  expect(read("nodes", "n2", "tls", "node.pem")).toBe(kept);
  const leaf = read("leaves", "site", "tls", "node.pem");
  await cluster("leaf", "site=gpu.other.example", ...MODEL);
  expect(read("leaves", "site", "tls", "node.pem")).toBe(leaf);
});

describe("where the files of a server lie", () => {
  const placeOf = (path: string): object => {
    const config = JSON.parse(read(path, "nats-server.conf")) as {
      listen: string;
      tls: { cert_file: string };
      jetstream?: { store_dir: string };
    };
    const [listen, configDir] = [config.listen.split(":")[0], dirname(dirname(config.tls.cert_file))];
    return { listen, configDir, storeDir: config.jetstream?.store_dir };
  };
  const SAID = ["--config-dir", "/opt/nats", "--store-dir", "/data/nats", "--listen", "127.0.0.2"];
  const KEPT = { listen: "127.0.0.2", configDir: "/opt/nats", storeDir: "/data/nats" };

  it("is kept until something else is said", async () => {
    await cluster("init", ...NODES, ...SAID, "--leaf-nodes");
    await cluster("revoke", "creds/monitor.creds");
    await cluster("leaf", "site=gpu.example", ...MODEL);
    expect(placeOf("nodes/n1")).toEqual(KEPT);
    expect(placeOf("leaves/site")).toEqual({ ...KEPT, storeDir: undefined });
    await cluster("init", ...NODES, "n4=n4.example");
    for (const name of ["n1", "n4"]) expect(placeOf(`nodes/${name}`)).toEqual(KEPT);
    await cluster("revoke", "creds/operator.creds", "--store-dir", "/data/new");
    await cluster("revoke", "creds/edge.creds");
    expect(placeOf("nodes/n4")).toEqual({ ...KEPT, storeDir: "/data/new" });
    await cluster("init", "other=other.example");
    expect(placeOf("nodes/other")).toEqual({ ...KEPT, storeDir: "/data/new" });
  });

  it("is said for a leaf by itself", async () => {
    await cluster("init", ...NODES, "--leaf-nodes");
    await cluster("leaf", "site=gpu.example", ...MODEL, "--listen", "127.0.0.3");
    const nodes = { listen: "0.0.0.0", configDir: "/etc/nats", storeDir: "/var/lib/nats" };
    expect(placeOf("nodes/n1")).toEqual(nodes);
    await cluster("init", ...NODES, "--listen", "127.0.0.2");
    await cluster("revoke", "creds/monitor.creds");
    expect(placeOf("nodes/n1")).toEqual({ ...nodes, listen: "127.0.0.2" });
    expect(placeOf("leaves/site")).toMatchObject({ listen: "127.0.0.3", configDir: "/etc/nats" });
  });

  it("is the default in a folder of an earlier release, which did not keep it", async () => {
    await cluster("init", ...NODES, ...SAID);
    const { places, ...earlier } = JSON.parse(read("cluster.json")) as Record<string, unknown>;
    expect(places).toHaveProperty("n3");
    writeFileSync(join(dir, "cluster.json"), JSON.stringify(earlier));
    expect(await cluster("revoke", "creds/monitor.creds", "--listen", "127.0.0.2")).toMatchObject({
      code: 0,
    });
    expect(placeOf("nodes/n1")).toEqual({
      listen: "127.0.0.2",
      configDir: "/etc/nats",
      storeDir: "/var/lib/nats",
    });
  });
});

it("goes on to listen for leaf nodes when a server is added", async () => {
  await cluster("init", ...NODES, "--leaf-nodes");
  await cluster("leaf", "site=gpu.example", ...MODEL);
  await cluster("init", ...NODES, "n4=n4.example");
  for (const name of ["n1", "n4"]) {
    expect(JSON.parse(read("nodes", name, "nats-server.conf"))).toHaveProperty("leafnodes.listen");
  }
  expect(read("leaves", "site", "nats-server.conf")).toContain("tls://n4.example:7422");
  expect((await cluster("leaf", "other=gpu.example", ...MODEL)).code).toBe(0);
});

it("revokes credentials that are named by their path in the cluster's folder", async () => {
  await cluster("init", ...NODES);
  const [key = ""] =
    /U[A-Z2-7]{55}/.exec((await cluster("user", "worker", ...MODEL, "--name", "gpu-7")).stdout) ?? [];
  expect(await cluster("revoke", "creds/gpu-7.creds")).toMatchObject({
    code: 0,
    stdout: expect.stringContaining(key) as string,
  });
});

it("gives each set of models an account, and says when the servers must learn of one", async () => {
  await cluster("init", ...NODES);
  const accounts = (): string[] => {
    const { resolver_preload: jwts } = JSON.parse(read("nodes", "n1", "nats-server.conf")) as {
      resolver_preload: Record<string, string>;
    };
    return Object.values(jwts).map((jwt) => {
      const claims = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as object;
      return (claims as { name: string }).name;
    });
  };
  expect(accounts()).toEqual(["SYS", "VQD", "MONITOR"]);
  const other = "vqd--other--0123456789ab";
  const first = await cluster("user", "worker", ...MODEL);
  expect(first.stdout).toContain("copy the configurations and reload");
  const second = await cluster("user", "worker", ...MODEL, "--name", "gpu-7");
  expect(second.stdout).not.toContain("reload");
  for (const list of [`${other},${KEY}`, `${KEY},${other},${KEY}`]) {
    await cluster("user", "worker", "--model", list, "--name", "both");
  }
  expect(accounts()).toEqual(["SYS", "VQD", "MONITOR", KEY, [KEY, other].toSorted().join("+")]);
});

it("names a model by its folder as its worker does", async () => {
  await cluster("init", ...NODES);
  const tiny = join(REPO, "test", "fixtures", "tiny", "checkpoint");
  await cluster("user", "worker", "--model", `${tiny},me/tiny=${tiny}`);
  const version = new DiffusersCheckpoint(tiny).version().slice(0, 12);
  expect(read("operator", "keys.json")).toContain(`"vqd--checkpoint--${version}"`);
  expect(read("operator", "keys.json")).toContain(`"me--tiny--${version}"`);
  for (const [list, reason] of [
    [join(tiny, "none"), /neither a model key nor a checkpoint folder/],
    [`Me/tiny=${tiny}`, /must look like owner\/name/],
  ] as const) {
    const refused = await cluster("user", "worker", "--model", list);
    expect(refused).toMatchObject({ code: 1, stderr: expect.stringMatching(reason) as string });
  }
});

it("refuses to revoke what names no user", async () => {
  await cluster("init", ...NODES);
  const jwt = (claims: string): string =>
    `-----BEGIN NATS USER JWT-----\n${claims}\n------END NATS USER JWT------\n`;
  const base64url = (text: string): string => Buffer.from(text).toString("base64url");
  const cut = read("creds", "edge.creds").replace(/(?<=JWT-+\n[^.]+\..{20})\S+/, "");
  const nobody = jwt(`a.${base64url('{"name":"gpu-7"}')}.b`);
  for (const text of [cut, nobody, jwt(`a.${base64url("null")}.b`), jwt("a"), ""]) {
    const path = join(dir, "creds", "damaged.creds");
    writeFileSync(path, text);
    expect(await cluster("revoke", path)).toMatchObject({
      code: 2,
      stderr: expect.stringMatching(/damaged\.creds is neither a user's public key nor/) as string,
    });
  }
  expect(await cluster("revoke", "creds/missing.creds")).toMatchObject({ code: 2 });
  expect(read("operator", "keys.json")).toContain('"revocations": {}');
});

it.each([
  [["init"], /NAME=HOST/],
  [["init", "n1"], /NAME=HOST/],
  [["init", "n1=10.0.0.1"], /must be a name/],
  [["init", "n1=a.example", "n1=b.example"], /differ/],
  [["user", "root"], /ROLE/],
  [["user", "worker"], /user worker needs --model/],
  [["user", "edge", ...MODEL], /user edge takes no --model/],
  [["user", "worker", ...MODEL, "--days", "never"], /--days/],
  [["user", "worker", ...MODEL, "--name", "edge"], /--name edge is the name of another role/],
  [["leaf", "site=gpu.example"], /leaf needs --model/],
  [["retire", "worker"], /retire/],
  [["dance"], /unknown command/],
])("refuses %j", async (args, reason) => {
  if (args[0] !== "init") await cluster("init", ...NODES);
  expect(await cluster(...args)).toMatchObject({ code: 2, stderr: expect.stringMatching(reason) as string });
});
