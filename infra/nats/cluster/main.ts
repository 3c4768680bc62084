// `npm run cluster`: makes the configuration, certificates and credentials of a NATS cluster, and changes them.

import { existsSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { ROLE_NAMES, type RoleName } from "./authority.ts";
import { CERTIFICATE_DAYS } from "./certificates.ts";
import { DEFAULT_PLACE, type Node, type Place, PORTS } from "./config.ts";
import { ClusterFiles, type Places } from "./files.ts";

const HELP = `Usage: npm run cluster -- init NAME=HOST... [options]    makes a cluster of these servers, or brings it up to date
       npm run cluster -- user ROLE [options]          new credentials: creds/NAME.creds
       npm run cluster -- revoke FILE|KEY [options]    refuses a user's credentials from now on
       npm run cluster -- leaf NAME=HOST [options]     a server for the workers of another site
       npm run cluster -- renew [options]              new TLS certificates, each for ${CERTIFICATE_DAYS} days

Writes a folder with, for each server, what is to be copied to its configuration folder: nodes/NAME, leaves/NAME. Then,
for clients, ca.pem and creds/ROLE.creds; and in operator/ the keys of all this, which belong on no server.
After user nothing is to be done; after all others copy the servers' folders again and reload each:
nats-server --signal reload. Roles: ${ROLE_NAMES.join(", ")}.

  --dir DIR             the cluster's folder                               [nats-cluster]
  --config-dir DIR      configuration folder on the servers                [${DEFAULT_PLACE.configDir}]
  --store-dir DIR       where the servers keep streams                     [${DEFAULT_PLACE.storeDir}]
  --listen ADDRESS      that the servers listen on                         [${DEFAULT_PLACE.listen}]
                        these three are kept: init says them for the nodes, leaf for that leaf, revoke for all
  --leaf-nodes          init: the servers listen for leaf nodes from then on, also when init is run again;
                        take nats-server 2.11.15, 2.12.6 or later for that
  --name NAME           user: name of the credentials                      [the role]
  --days N              user: how long they are valid                      [for ever]
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
      `${JSON.stringify(argument)} must be NAME=HOST, with a name of lower case letters, digits and -`,
    );
  }
  if (isIP(host) !== 0)
    throw new UsageError(`${argument}: HOST must be a name, for clients check the name in certificates`);
  return { name, host, ports: PORTS };
}

function roleOf(text: string | undefined): RoleName {
  const role = ROLE_NAMES.find((name) => name === text);
  if (role === undefined) throw new UsageError(`ROLE must be one of ${ROLE_NAMES.join(", ")}`);
  return role;
}

const USER_KEY = /^U[A-Z2-7]{55}$/;

/** The user's public key, given itself or as the credentials that name it: a path, also below the cluster's folder. */
function userKey(argument: string, dir: string): string {
  if (USER_KEY.test(argument)) return argument;
  const path = [argument, resolve(dir, argument)].find((file) => existsSync(file));
  const key = path === undefined ? undefined : subjectOf(readFileSync(path, "utf8"));
  if (typeof key !== "string" || !USER_KEY.test(key))
    throw new UsageError(`${argument} is neither a user's public key nor a credentials file`);
  return key;
}

/** Whom the JWT of a credentials file is about; undefined where the text is none. */
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
  /** A leaf stands at another site: init and leaf speak of the servers that they name, revoke of all. */
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
      say("two servers are worse than one: without either of them none stores; take three");
    const files = await ClusterFiles.init(dir, { nodes, acceptsLeaves: values["leaf-nodes"] }, places);
    for (const { name } of nodes) say(`${files.configPath("nodes", name)}`);
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
    if (!NAME.test(name)) throw new UsageError("--name must be lower case letters, digits and -");
    // Its credentials lie under the role's name.
    if (name !== role && ROLE_NAMES.some((other) => other === name))
      throw new UsageError(`--name ${name} is another role's`);
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
    throw new UsageError(`unknown command ${command}; there are: init, user, revoke, leaf, renew`);
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
