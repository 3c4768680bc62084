// What the port of `npm start` answers, whoever asks: the app's routes, and none of those that wrangler's development server has.

import { readdirSync, readFileSync } from "node:fs";
import { once } from "node:events";
import { type IncomingHttpHeaders, type IncomingMessage, request } from "node:http";
import { connect } from "node:net";
import { join } from "node:path";
import { text } from "node:stream/consumers";
import { jetstreamManager } from "@nats-io/jetstream";
import { connect as connectToNats } from "nats";
import { afterAll, beforeAll, expect, it } from "vitest";
import { formatLine } from "../../infra/stack/log.ts";
import { REPO } from "../../infra/stack/paths.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

let test: TestStack;
beforeAll(async () => {
  test = await startTestStack({ workers: 0 });
});
afterAll(() => test.stop());

/** Text of all that miniflare and wrangler run or have workerd run. */
function sources(): string {
  const files = ["miniflare/dist/src", "wrangler/wrangler-dist", "wrangler/templates"].flatMap((folder) => {
    const dir = join(REPO, "node_modules", folder);
    return readdirSync(dir, { recursive: true, encoding: "utf8" })
      .filter((name) => /\.(?:js|ts)$/.test(name) && !name.endsWith(".d.ts"))
      .map((name) => readFileSync(join(dir, name), "utf8"));
  });
  return files.join("\n");
}

const all = sources();
const found = (pattern: RegExp): string[] => [
  ...new Set([...all.matchAll(pattern)].map(([, match = ""]) => match)),
];

/** Paths of theirs: local, internal and the explorer's, below both roots. */
const ROOTS = found(/["'`](\/(?:cdn-cgi|__)[\w./-]*)/g);
const EXPLORER = found(
  /["'`](\/(?:api\/)?(?:d1|r2|kv|storage|workers|workflows|local|flagship|email)\/[\w/{}:$.-]+)["'`]/g,
);
const PATHS = [
  ...ROOTS,
  ...ROOTS.filter((root) => root.startsWith("/cdn-cgi/local")).flatMap((root) =>
    ["", ...EXPLORER].map((path) => `${root}${path}/`),
  ),
  "/cdn-cgi/mf/scheduled",
  "/cdn-cgi/handler/scheduled",
  "/cdn-cgi/handler/email",
  "/cdn-cgi/trace",
  "/cdn-cgi/local/explorer/api/workers/durable_objects/namespaces/vqd-edge-Hub/query",
  "/cdn-cgi/local/explorer/api/r2/buckets/vqd-files/objects",
  "/cdn-cgi/local/explorer/api/storage/kv/namespaces/KEYS/values/key:planted",
  "/cdn-cgi/local/r2/public/vqd-files/",
  "/cdn-cgi/local/r2/s3/vqd-files",
];

/** Headers by which their parts speak with each other. */
const HEADERS = Object.fromEntries(
  found(/["'](MF-[A-Za-z-]+[a-z])["']/gi).map((name) => [name, "http://127.0.0.1/"]),
);

interface Answer {
  readonly status: number | undefined;
  readonly body: string;
  readonly sent: IncomingHttpHeaders;
}

async function ask(method: string, path: string, headers: Record<string, string>): Promise<Answer> {
  const { port } = new URL(test.url);
  const outgoing = request({ host: "127.0.0.1", port, method, path, headers });
  outgoing.end(method === "POST" ? "{}" : undefined);
  const [incoming] = (await once(outgoing, "response")) as [IncomingMessage];
  return { status: incoming.statusCode, body: await text(incoming), sent: incoming.headers };
}

const isOurs = ({ status, body }: Answer): boolean =>
  status === 404 && body.includes('"detail":"there is nothing at this path","code":"not_found"');

it("has found the development server's paths and headers", () => {
  for (const path of ["scheduled", "email", "explorer", "platform-proxy", "r2/public", "r2/s3"]) {
    expect(PATHS).toContain(`/cdn-cgi/local/${path}`);
  }
  expect(PATHS.length).toBeGreaterThan(100);
  expect(Object.keys(HEADERS).length).toBeGreaterThan(20);
});

const callers = (): Record<string, string>[] => {
  const { host, origin } = new URL(test.url);
  return [
    { host },
    { host: "localhost", origin: "http://localhost" },
    { host, origin },
    { host: "attacker.example", origin: "https://attacker.example" },
    { host: "vqd-edge.workers.dev", origin: "null" },
  ];
};

/** Those whose answers are not the app's own 404. */
async function answered(method: string, headers: Record<string, string>): Promise<string[]> {
  const wrong: string[] = [];
  for (const path of PATHS) {
    const answer = await ask(method, path, headers);
    if (!isOurs(answer)) wrong.push(`${path}: ${answer.status} ${answer.body.slice(0, 200)}`);
  }
  return wrong;
}

it("answers none of its paths, whatever Host and Origin say", async () => {
  for (const headers of callers())
    expect(await answered("GET", headers), JSON.stringify(headers)).toEqual([]);
});

it.each(["POST", "PUT", "DELETE"])("answers %s at none of its paths", async (method) => {
  const { host, origin } = new URL(test.url);
  expect(await answered(method, { host, origin })).toEqual([]);
});

interface Document {
  readonly paths: Record<string, Record<string, { readonly security: unknown[] }>>;
}

const METHODS = ["GET", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"];
/** Values of parameters that a path could have. */
const EXAMPLES: Record<string, string> = { capability: "0".repeat(32), name: "0.png" };

it("answers each of the app's routes as the app does, whatever Host and Origin say, and nothing beside them", async () => {
  const { host } = new URL(test.url);
  // Another test compares it with the app's own table.
  const document = JSON.parse((await ask("GET", "/openapi.json", { host })).body) as Document;
  const routes = Object.entries(document.paths);
  expect(routes.length).toBeGreaterThan(20);
  const wrong: string[] = [];
  for (const headers of callers()) {
    for (const [template, operations] of routes) {
      const path = template.replaceAll(/\{(\w+)\}/g, (_, name: string) => EXAMPLES[name] ?? "x");
      for (const method of METHODS) {
        const operation = operations[method.toLowerCase()];
        const { status, body, sent } = await ask(method, path, headers);
        // Whoever has no key learns nothing, not even whether something is there.
        const expected =
          operation === undefined
            ? [method === "OPTIONS" ? 204 : 405]
            : operation.security.length > 0
              ? [401]
              : [200, 404, 503];
        const isApps =
          expected.includes(status ?? 0) &&
          sent["x-content-type-options"] === "nosniff" &&
          sent["x-request-id"] !== undefined &&
          sent["access-control-allow-credentials"] === undefined &&
          sent.location === undefined;
        if (!isApps)
          wrong.push(`${JSON.stringify(headers)} ${method} ${path}: ${status} ${body.slice(0, 100)}`);
      }
      for (const beside of [
        `${path}/`,
        `/${path}`,
        `${path}/x/y/z`,
        `/${path.slice(1).replaceAll("/", "%2f")}`,
        `${path}%00`,
      ]) {
        if (beside === path || ["/", "//", "//x/y/z"].includes(beside)) continue;
        const answer = await ask("GET", beside, headers);
        if (![401, 404, 405].includes(answer.status ?? 0) || answer.sent["x-request-id"] === undefined) {
          wrong.push(`${JSON.stringify(headers)} ${beside}: ${answer.status} ${answer.body.slice(0, 100)}`);
        }
      }
    }
  }
  expect(wrong).toEqual([]);
});

it("asks JetStream little for /healthz, however often anybody calls", async () => {
  const nats = await connectToNats({
    servers: test.stack.natsUrl,
    user: "operator",
    pass: test.stack.passwords.operator,
    inboxPrefix: "_INBOX_operator",
  });
  const jsm = await jetstreamManager(nats);
  const asked = async (): Promise<number> => (await jsm.getAccountInfo()).api.total;
  const calls = 1_000;
  const before = await asked();
  for (let done = 0; done < calls; done += 50) {
    await Promise.all(Array.from({ length: 50 }, () => ask("GET", "/healthz", { host: "a" })));
  }
  expect((await asked()) - before).toBeLessThan(calls / 10);
  await nats.close();
});

it("ignores its headers", async () => {
  const { host } = new URL(test.url);
  for (const [name, value] of Object.entries(HEADERS)) {
    expect(isOurs(await ask("GET", "/nothing", { host, [name]: value })), name).toBe(true);
  }
  const health = await ask("GET", "/healthz", { host, ...HEADERS });
  expect(JSON.parse(health.body)).toMatchObject({ hub: "ok" });
});

it.each([
  ["CONNECT", `CONNECT 127.0.0.1:22 HTTP/1.1\r\nhost: 127.0.0.1:22\r\n\r\n`, /^HTTP\/1\.1 500 /],
  [
    "another server's URL",
    "GET http://127.0.0.1:22/ HTTP/1.1\r\nhost: a\r\nconnection: close\r\n\r\n",
    /^HTTP\/1\.1 200 [^]*<!doctype html>/,
  ],
  ["HTTP/2", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", /^$/],
])("is no proxy: %s", async (_name, bytes, expected) => {
  const socket = connect(Number(new URL(test.url).port), "127.0.0.1");
  socket.write(bytes);
  expect(await text(socket)).toMatch(expected);
});

it("logs no control characters and no capabilities", async () => {
  const capability = "0123456789abcdefghjkmnpqrstvwxyz";
  for (const path of ["/%1b%5D0;pwned%07", `/v1/streams/x/${capability}`, `/v1/files/${capability}/0.png`]) {
    await ask("GET", path, { host: "a" });
  }
  const shown = (): string => test.lines.map((line) => formatLine(line, false)).join("\n");
  await expect.poll(shown, { timeout: 20_000 }).toMatch(/path=\/v1\/files\/\S+ status=404/);
  expect(shown()).toMatch(/path=\/v1\/streams\/\S+ status=404/);
  expect(shown()).toContain(String.raw`path=/\u001b]0;pwned\u0007 status=404`);
  expect(shown()).not.toContain(capability);
});
