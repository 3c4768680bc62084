// The path to NATS, hop by hop: address, connection, TLS, credentials, and the server itself.

import { lookup } from "node:dns/promises";
import { readFileSync } from "node:fs";
import { MAX_PAYLOAD_BYTES } from "@vqd/shared/limits.ts";
import { connect, type NatsConnection } from "nats";
import { isAtLeast, MIN_NATS } from "../nats/server-version.ts";
import { connectionOptions, type NatsSettings } from "../nats/settings.ts";
import { type Findings, reasonOf } from "./findings.ts";

/** What images of the published model take at most, as PNG files. */
const WANTED_PAYLOAD = 1024 * 1024;
const CONNECT_LIMIT_MS = 5_000;
/** Credentials that expire sooner than this deserve a warning. */
const SOON_MS = 14 * 86_400_000;

/** Connects if possible; otherwise reports what is in the way. */
export async function checkNats(
  findings: Findings,
  settings: NatsSettings,
  inboxPrefix: string,
): Promise<NatsConnection | undefined> {
  await checkNames(findings, settings.servers);
  checkCredentials(findings, settings.credsFile);
  let nc: NatsConnection;
  try {
    nc = await connect({
      ...connectionOptions(settings),
      name: "vqd doctor",
      inboxPrefix,
      timeout: CONNECT_LIMIT_MS,
      reconnect: false,
    });
  } catch (error) {
    explainFailure(findings, settings, error);
    return undefined;
  }
  findings.ok("nats.connect", `connected to ${nc.getServer()}`);
  checkServer(findings, nc, settings);
  return nc;
}

async function checkNames(findings: Findings, servers: readonly string[]): Promise<void> {
  for (const server of servers) {
    const { hostname } = new URL(server);
    await lookup(hostname).catch((error: unknown) =>
      findings.problem(
        "nats.dns",
        `${hostname} has no address (${reasonOf(error)})`,
        "correct VQD_NATS_URL, or the DNS records of the name",
      ),
    );
  }
}

/** When the JWT of a credentials file expires, as Unix time in ms; undefined for never. Throws an Error for any other file. */
function expiryOf(file: string): number | undefined {
  const [, jwt] = /NATS USER JWT-+\s+(\S+)/.exec(readFileSync(file, "utf8")) ?? [];
  if (jwt === undefined) throw new Error("it contains no NATS USER JWT");
  const claims = JSON.parse(Buffer.from(jwt.split(".")[1] ?? "", "base64url").toString()) as { exp?: number };
  return claims.exp === undefined ? undefined : claims.exp * 1_000;
}

function checkCredentials(findings: Findings, file: string | undefined): void {
  if (file === undefined) return;
  const advice = "npm run cluster -- user ROLE creates new ones";
  try {
    const expiry = expiryOf(file);
    if (expiry === undefined) return;
    const when = new Date(expiry).toISOString();
    if (expiry <= Date.now()) {
      findings.problem("nats.credentials", `${file} expired at ${when}`, advice);
    } else if (expiry < Date.now() + SOON_MS) {
      findings.warn("nats.credentials", `${file} expires at ${when}`, advice);
    }
  } catch (error) {
    findings.problem("nats.credentials", `${file} is not a credentials file: ${reasonOf(error)}`, advice);
  }
}

function explainFailure(findings: Findings, settings: NatsSettings, error: unknown): void {
  const known = findings.all.some(({ check, level }) => check.startsWith("nats.") && level === "problem");
  const reason = reasonOf(error);
  const where = settings.servers.join(", ");
  const code = codeOf(error);
  if (/VQD_NATS_/.test(reason)) {
    if (!known) findings.problem("nats.settings", reason);
  } else if (/authorization|authentication|permissions/i.test(reason)) {
    const who =
      settings.credsFile ?? (settings.user === undefined ? "anonymous clients" : `user ${settings.user}`);
    if (!known) {
      findings.problem(
        "nats.credentials",
        `${where} rejects ${who}: ${reason}`,
        "the password is wrong, or the credentials were revoked or belong to another operator",
      );
    }
  } else if (code === "CERT_HAS_EXPIRED" || /certificate has expired/i.test(reason)) {
    findings.problem("nats.tls", `the certificate of ${where} has expired`, "npm run cluster -- renew");
  } else if (/certificate|self.signed|altnames|issuer/i.test(`${reason} ${code}`)) {
    findings.problem(
      "nats.tls",
      `the certificate of ${where} is not trusted: ${reason}`,
      "VQD_NATS_CA must name the CA that signed it, and the URL must use a host name in the certificate",
    );
  } else if (/tls/i.test(reason)) {
    findings.problem(
      "nats.tls",
      `${where}: ${reason}`,
      "the server offers no TLS, which tls:// and VQD_NATS_CA require",
    );
  } else if (!known) {
    findings.problem(
      "nats.connect",
      `cannot connect to ${where}: ${reason}`,
      "check that the server is up and its port reachable from here",
    );
  }
}

const codeOf = (error: unknown): string => {
  const cause = error instanceof Error ? (error.cause ?? error) : error;
  return cause instanceof Error && "code" in cause ? String(cause.code) : "";
};

function checkServer(findings: Findings, nc: NatsConnection, settings: NatsSettings): void {
  const {
    version = "0",
    max_payload: payload = 0,
    jetstream = false,
    tls_required: tls = false,
  } = nc.info ?? {};
  if (!isAtLeast(version, MIN_NATS)) {
    findings.problem(
      "nats.version",
      `nats-server is ${version}, older than ${MIN_NATS}`,
      "upgrade the server",
    );
  } else findings.ok("nats.version", `nats-server ${version}`);
  if (!jetstream) {
    findings.problem(
      "nats.jetstream",
      "JetStream is not enabled on the server",
      "add jetstream to its configuration",
    );
  }
  if (payload < WANTED_PAYLOAD) {
    findings.problem(
      "nats.max_payload",
      `max_payload is ${payload} bytes, less than the ${WANTED_PAYLOAD} that an image may take`,
      "raise the server's max_payload",
    );
  } else if (payload < MAX_PAYLOAD_BYTES) {
    findings.warn(
      "nats.max_payload",
      `max_payload is ${payload} bytes, less than the ${MAX_PAYLOAD_BYTES} of a job with a large image to edit`,
      "raise the server's max_payload",
    );
  }
  const isLocal = settings.servers.every((server) =>
    ["127.0.0.1", "localhost", "[::1]"].includes(new URL(server).hostname),
  );
  if (!tls && !isLocal) {
    findings.warn("nats.tls", "the connection is not encrypted", "docs/nats.md explains how to set up TLS");
  }
}
