// Checks of the edge: address, certificate, health, clock and key, and the models that it knows.

import { lookup } from "node:dns/promises";
import { z } from "zod";
import { type Findings, reasonOf } from "./findings.ts";
import type { ServedVersion } from "./workers.ts";

const LIMIT_MS = 10_000;
/** Job deadlines are set by the edge's clock and read by the workers'. */
const CLOCK_WARNING_MS = 2_000;
const CLOCK_PROBLEM_MS = 10_000;

const healthSchema = z.object({
  status: z.string(),
  nats: z.string(),
  models: z.array(z.object({ name: z.string(), version: z.string() })),
});

/** Checks that the edge knows the models that workers serve. */
export function checkListed(
  findings: Findings,
  served: readonly ServedVersion[],
  known: readonly ServedVersion[],
): void {
  const reported = new Set(known.map(({ version }) => version));
  for (const { name, version } of served) {
    if (reported.has(version)) continue;
    reported.add(version);
    findings.problem(
      "edge.models",
      `the edge does not know ${name} in version ${version}, which workers serve`,
      "a few seconds after a worker's start this is normal; otherwise the edge's log says why it rejected the manifest",
    );
  }
}

/** Returns the models that the edge knows. `key` is an API key to test, if any. */
export async function checkEdge(
  findings: Findings,
  url: string,
  key: string | undefined,
): Promise<ServedVersion[]> {
  const { hostname, protocol } = new URL(url);
  const isLocal = ["127.0.0.1", "localhost", "[::1]"].includes(hostname);
  if (protocol === "http:" && !isLocal) {
    findings.warn("edge.tls", `${url} is not encrypted: API keys are sent in the clear`, "use https");
  }
  try {
    await lookup(hostname.replaceAll(/[[\]]/g, ""));
  } catch (error) {
    findings.problem(
      "edge.dns",
      `${hostname} has no address (${reasonOf(error)})`,
      "correct --url, or the DNS records of the name",
    );
    return [];
  }
  const askedAt = Date.now();
  const response = await ask(`${url}/healthz`).catch((error: unknown) => {
    const reason = reasonOf(error);
    const isTls = /certificate|self.signed|SSL|TLS/i.test(reason);
    findings.problem(isTls ? "edge.tls" : "edge.connect", `${url}: ${reason}`);
    return undefined;
  });
  if (response === undefined) return [];
  checkClock(findings, response, (askedAt + Date.now()) / 2);
  const health = healthSchema.safeParse(await response.json().catch(() => undefined));
  if (!health.success) {
    findings.problem(
      "edge.url",
      `${url} is not a vqd edge: /healthz answers ${response.status} without the expected fields`,
      "check --url",
    );
    return [];
  }
  const { nats, models } = health.data;
  if (nats === "connected") findings.ok("edge.nats", "the edge is connected to NATS");
  else {
    const advice = {
      unreachable:
        "check the edge's NATS_URL and NATS_CREDS (or NATS_USER and NATS_PASSWORD), and the server's certificate and port",
      unavailable: "its streams do not answer: too few servers are up, or vqd streams apply was never run",
    };
    findings.problem(
      "edge.nats",
      `the edge reports that NATS is ${nats}`,
      advice[nats as keyof typeof advice],
    );
  }
  if (models.length === 0) {
    findings.problem(
      "edge.models",
      "the edge knows no model",
      "start a worker; if one is running, the edge's log says why it rejected the manifest",
    );
  } else findings.ok("edge.models", models.map(({ name }) => name).join(", "));
  if (key !== undefined) await checkKey(findings, url, key);
  return models;
}

const ask = (url: string, key?: string): Promise<Response> =>
  fetch(url, {
    redirect: "manual",
    signal: AbortSignal.timeout(LIMIT_MS),
    headers: key === undefined ? {} : { authorization: `Bearer ${key}` },
  });

function checkClock(findings: Findings, response: Response, now: number): void {
  const date = Date.parse(response.headers.get("date") ?? "");
  if (Number.isNaN(date)) return;
  // The header is truncated to whole seconds.
  const offMs = date + 500 - now;
  if (Math.abs(offMs) < CLOCK_WARNING_MS) {
    findings.ok("edge.clock", "this machine's clock agrees with the edge's");
    return;
  }
  const seconds = (Math.abs(offMs) / 1_000).toFixed(0);
  const message = `this machine's clock is ${seconds} s ${offMs > 0 ? "behind" : "ahead of"} the edge's`;
  const advice = "synchronize the clocks (NTP): job deadlines are set by the edge's clock";
  if (Math.abs(offMs) >= CLOCK_PROBLEM_MS) findings.problem("edge.clock", message, advice);
  else findings.warn("edge.clock", message, advice);
}

async function checkKey(findings: Findings, url: string, key: string): Promise<void> {
  try {
    const { status } = await ask(`${url}/v1/models`, key);
    if (status === 200) findings.ok("edge.key", "the API key is valid");
    else if (status === 401)
      findings.problem("edge.key", "the edge does not know the API key (401)", "npm run keys -- list");
    else if (status === 403) findings.warn("edge.key", "the API key is not allowed to read (403)");
    else if (status === 503) {
      findings.problem(
        "edge.key",
        "no API key is configured at the edge (503)",
        "npm run keys -- create NAME --remote",
      );
    } else findings.problem("edge.key", `GET /v1/models answers ${status}`);
  } catch (error) {
    findings.problem("edge.key", `GET /v1/models: ${reasonOf(error)}`);
  }
}
