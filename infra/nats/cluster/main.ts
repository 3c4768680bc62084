// `npm run cluster`: creates and updates the configuration, certificates and credentials of a NATS cluster.

import { existsSync, readFileSync } from "node:fs";
import { isIP } from "node:net";
import { join, resolve } from "node:path";
import { parseArgs } from "node:util";
import { DEFAULT_CACHE_DIR } from "@vqd/gpu-worker/config.ts";
import { keysOfModels } from "@vqd/gpu-worker/serving/model-key.ts";
import { UsageError } from "../../usage-error.ts";
import { isModelRole, ROLE_NAMES, type RoleName } from "./authority.ts";
import { CERTIFICATE_DAYS } from "./certificates.ts";
import { DEFAULT_PLACE, type Node, type Place, PORTS } from "./config.ts";
import { claimsOf, ClusterFiles, type Places } from "./files.ts";

const HELP = `Usage: npm run cluster -- init NAME=HOST... [options]    create a cluster of these servers, or update it
       npm run cluster -- user ROLE [options]          issue new credentials: creds/NAME.creds
       npm run cluster -- revoke FILE|KEY [options]    revoke a user's credentials
       npm run cluster -- leaf NAME=HOST [options]     add a server for the workers of another site
       npm run cluster -- retire [options]             refuse the credentials of 0.1.0, which allow a worker any model
       npm run cluster -- renew [options]              issue new TLS certificates, valid for ${CERTIFICATE_DAYS} days

Writes a folder that holds the files to copy to each server's configuration folder (nodes/NAME, leaves/NAME), ca.pem
and creds/ROLE.creds for clients, and the signing keys (operator/), which must never be copied to a server. After every
command, except \`user\` for models that already have credentials, copy the servers' folders again and reload each
server: nats-server --signal reload. Roles: ${ROLE_NAMES.join(", ")}.

  --dir DIR             the cluster's folder                               [nats-cluster]
  --config-dir DIR      configuration folder on the servers                [${DEFAULT_PLACE.configDir}]
  --store-dir DIR       folder for streams on the servers                  [${DEFAULT_PLACE.storeDir}]
  --listen ADDRESS      address that the servers listen on                 [${DEFAULT_PLACE.listen}]
                        these three are remembered: init sets them for the nodes, leaf for that leaf, revoke for all
  --leaf-nodes          init: accept leaf nodes, now and when init is run again; requires nats-server 2.11.15,
                        2.12.6 or later
  --model LIST          user worker, leaf: the models that may be served, all that one worker serves together: keys
                        (owner--name--12 digits) or checkpoint folders, each served as vqd/FOLDER, or as owner/name
                        with owner/name=FOLDER; comma separated
  --name NAME           user: name of the credentials                      [the role]
  --days N              user: validity in days                             [unlimited]
  -h, --help            this text
`;

const NAME = /^[a-z0-9][a-z0-9-]{0,62}$/;
const HOST = /^[\w.-]+$/;
const DAY_SECONDS = 86_400;

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
  const key = path === undefined ? undefined : claimsOf(readFileSync(path, "utf8"))?.sub;
  if (typeof key !== "string" || !USER_KEY.test(key))
    throw new UsageError(`${argument} is neither a user's public key nor a credentials file`);
  return key;
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
      model: { type: "string" },
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
    command === "revoke" ||
    command === "retire" ||
    subjects.some((subject) => subject.startsWith(`${server}=`))
      ? place
      : {};
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
  const models = keysOfModels(values.model ?? "", process.env["VQD_CACHE"] || DEFAULT_CACHE_DIR);
  if (command === "user") {
    const role = roleOf(only("ROLE"));
    if (isModelRole(role) !== models.length > 0) {
      throw new UsageError(
        isModelRole(role) ? `user ${role} needs --model: what it may serve` : `user ${role} takes no --model`,
      );
    }
    const days = values.days === undefined ? undefined : Number(values.days);
    if (days !== undefined && !(days > 0)) throw new UsageError("--days must be a number above 0");
    const name = values.name ?? role;
    if (!NAME.test(name)) throw new UsageError("--name must be lower-case letters, digits and -");
    // Credentials are stored under the role's name by default.
    if (name !== role && ROLE_NAMES.some((other) => other === name))
      throw new UsageError(`--name ${name} is the name of another role`);
    const expires = days === undefined ? undefined : Math.floor(Date.now() / 1_000 + days * DAY_SECONDS);
    const { publicKey, isNewAccount } = files.issue(role, { name, models, expires });
    say(`${files.credentialsPath(name)} is user ${publicKey}`);
    if (isNewAccount) say("the first user of these models; copy the configurations and reload the servers");
  } else if (command === "revoke") {
    const key = userKey(only("credentials file or public key"), dir);
    files.authority.revoke(key);
    files.writeConfigs();
    say(`revoked ${key}; copy the configurations and reload the servers`);
  } else if (command === "leaf") {
    const { name, host, ports } = nodeOf(only("NAME=HOST"));
    if (models.length === 0) throw new UsageError("leaf needs --model: what its workers may serve");
    await files.addLeaf({
      name,
      hosts: [host],
      ports: { client: ports.client, monitor: ports.monitor },
      models,
    });
    say(join(dir, "leaves", name));
  } else if (command === "retire") {
    if (subjects.length > 0) throw new UsageError("retire takes no names");
    files.authority.retireUnscoped();
    files.writeConfigs();
    say("retired the credentials of 0.1.0; copy the configurations and reload the servers");
  } else if (command === "renew") {
    await files.renewCertificates();
    say("new certificates; copy them and reload the servers");
  } else {
    throw new UsageError(
      `unknown command ${command}; the commands are init, user, revoke, leaf, retire, renew`,
    );
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
