// `npm run cluster`: creates and updates the configuration, certificates and credentials of a NATS cluster.

import { existsSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ROLE_NAMES, type RoleName } from "./authority.ts";
import { CERTIFICATE_DAYS } from "./certificates.ts";
import { DEFAULT_PLACE, type Node, type Place, PORTS } from "./config.ts";
import { ClusterFiles, type Places } from "./files.ts";

const HELP = `Usage: npm run cluster -- init NAME=HOST... [options]    create a cluster of these servers, or update it
       npm run cluster -- user ROLE [options]          issue new credentials: creds/NAME.creds
       npm run cluster -- revoke FILE|KEY [options]    revoke a user's credentials
       npm run cluster -- leaf NAME=HOST [options]     add a server for the workers of another site
       npm run cluster -- renew [options]              issue new TLS certificates, valid for ${CERTIFICATE_DAYS} days

Writes a folder that holds the files to copy to each server's configuration folder (nodes/NAME, leaves/NAME), ca.pem
and creds/ROLE.creds for clients, and the keys behind all of this (operator/), which belong on no server. After every
command except user, copy the servers' folders again and reload each server: nats-server --signal reload.
Roles: ${ROLE_NAMES.join(", ")}.

  --dir DIR             the cluster's folder                               [nats-cluster]
  --config-dir DIR      configuration folder on the servers                [${DEFAULT_PLACE.configDir}]
  --store-dir DIR       folder for streams on the servers                  [${DEFAULT_PLACE.storeDir}]
  --listen ADDRESS      address that the servers listen on                 [${DEFAULT_PLACE.listen}]
                        these three are remembered: init sets them for the nodes, leaf for that leaf, revoke for all
  --leaf-nodes          init: accept leaf nodes, now and when init is run again; requires nats-server 2.11.15,
                        2.12.6 or later
  --name NAME           user: name of the credentials                      [the role]
  --days N              user: validity in days                             [unlimited]
  -h, --help            this text
`;

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const HOST = /^[\w.-]+$/;
const DAY_SECONDS = 86_400;

class UsageError extends Error {}

function nodeOf(argument: string): Node {
  const [name = "", host = "", ...rest] = argument.split("=");
  if (!NAME.test(name) || !HOST.test(host) || rest.length > 0) {
    throw new UsageError(
      `${JSON.stringify(argument)} must be NAME=HOST, with a name of lower-case letters, digits and -`,
    );
  }
  if (isIP(host) !== 0)
    throw new UsageError(
      `${argument}: HOST must be a name, because clients check it against the certificate`,
    );
  return { name, host, ports: PORTS };
}

function roleOf(text: string | undefined): RoleName {
  const role = ROLE_NAMES.find((name) => name === text);
  if (role === undefined) throw new UsageError(`ROLE must be one of ${ROLE_NAMES.join(", ")}`);
  return role;
}

const USER_KEY = /^U[A-Z2-7]{55}$/;

/** The user's public key, given as such or as a credentials file: a path, which may be relative to the cluster's folder. */
function userKey(argument: string, dir: string): string {
  if (USER_KEY.test(argument)) return argument;
  const path = [argument, resolve(dir, argument)].find((file) => existsSync(file));
  const key = path === undefined ? undefined : subjectOf(readFileSync(path, "utf8"));
  if (typeof key !== "string" || !USER_KEY.test(key))
    throw new UsageError(`${argument} is neither a user's public key nor a credentials file`);
  return key;
}

/** The subject of the JWT in a credentials file; undefined if the text is not one. */
function subjectOf(credentials: string): unknown {
  const [, jwt] = /NATS USER JWT-+\s+(\S+)/.exec(credentials) ?? [];
  try {
    const claims: unknown = JSON.parse(Buffer.from(jwt?.split(".")[1] ?? "", "base64url").toString());
    return (claims as { sub?: unknown } | null)?.sub;
  } catch {
    return undefined;
  }
}

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      dir: { type: "string", default: "nats-cluster" },
      "config-dir": { type: "string" },
      "store-dir": { type: "string" },
      listen: { type: "string" },
      "leaf-nodes": { type: "boolean", default: false },
      name: { type: "string" },
      days: { type: "string" },
      help: { type: "boolean", short: "h", default: false },
    },
    allowPositionals: true,
  });
  const [command, ...subjects] = positionals;
  if (values.help || command === undefined) {
    (values.help ? process.stdout : process.stderr).write(HELP);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const dir = resolve(values.dir);
  const { "config-dir": configDir, "store-dir": storeDir, listen } = values;
  const place: Partial<Place> = {
    ...(configDir === undefined ? {} : { configDir }),
    ...(storeDir === undefined ? {} : { storeDir }),
    ...(listen === undefined ? {} : { listen }),
  };
  /** A leaf is at another site, so init and leaf apply to the servers that they name; revoke applies to all. */
  const places: Places = (server) =>
    command === "revoke" || subjects.some((subject) => subject.startsWith(`${server}=`)) ? place : {};
  const say = (line: string): void => void process.stdout.write(`${line}\n`);
  const only = (what: string): string => {
    const [subject, ...others] = subjects;
    if (subject === undefined || others.length > 0) throw new UsageError(`${command} takes one ${what}`);
    return subject;
  };

  if (command === "init") {
    if (subjects.length === 0) throw new UsageError("init takes at least one NAME=HOST");
    const nodes = subjects.map(nodeOf);
    if (new Set(nodes.map(({ name }) => name)).size < nodes.length) throw new UsageError("names must differ");
    if (nodes.length === 2)
      say("two servers are worse than one: without either of them, nothing can be stored; use three");
    const files = await ClusterFiles.init(dir, { nodes, acceptsLeaves: values["leaf-nodes"] }, places);
    for (const { name } of nodes) say(files.configPath("nodes", name));
    say(
      `NATS_URL of the edge    ${nodes.map(({ host, ports }) => `wss://${host}:${ports.websocket}`).join(",")}`,
    );
    say(
      `VQD_NATS_URL of workers ${nodes.map(({ host, ports }) => `tls://${host}:${ports.client}`).join(",")}`,
    );
    return;
  }
  const files = await ClusterFiles.open(dir, places);
  if (command === "user") {
    const role = roleOf(only("ROLE"));
    const days = values.days === undefined ? undefined : Number(values.days);
    if (days !== undefined && !(days > 0)) throw new UsageError("--days must be a number above 0");
    const name = values.name ?? role;
    if (!NAME.test(name)) throw new UsageError("--name must be lower-case letters, digits and -");
    // Credentials are stored under the role's name by default.
    if (name !== role && ROLE_NAMES.some((other) => other === name))
      throw new UsageError(`--name ${name} is the name of another role`);
    const expires = days === undefined ? undefined : Math.floor(Date.now() / 1_000 + days * DAY_SECONDS);
    const key = files.issue(role, name, expires);
    say(`${files.credentialsPath(name)} is user ${key}`);
  } else if (command === "revoke") {
    const key = userKey(only("credentials file or public key"), dir);
    files.authority.revoke(key);
    files.writeConfigs();
    say(`revoked ${key}; copy the configurations and reload the servers`);
  } else if (command === "leaf") {
    const { name, host, ports } = nodeOf(only("NAME=HOST"));
    await files.addLeaf(name, [host], { client: ports.client, monitor: ports.monitor });
    say(join(dir, "leaves", name));
  } else if (command === "renew") {
    await files.renewCertificates();
    say("new certificates; copy them and reload the servers");
  } else {
    throw new UsageError(`unknown command ${command}; the commands are init, user, revoke, leaf, renew`);
  }
}

try {
  await main();
} catch (error) {
  process.stderr.write(`cluster: ${(error as Error).message}\n`);
  const isUsage =
    error instanceof UsageError || (error as NodeJS.ErrnoException).code?.startsWith("ERR_PARSE_ARGS");
  process.exitCode = isUsage ? 2 : 1;
}
