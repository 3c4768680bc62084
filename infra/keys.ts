// `npm run keys`: creates, lists and revokes API keys, for the edge of a data folder or one on Cloudflare.

import { createHash, randomBytes } from "node:crypto";
import { join, resolve } from "node:path";
import { parseArgs, stripVTControlCharacters } from "node:util";
import {
  type ApiKey,
  keyIdOf,
  keyNameSchema,
  QUOTAS,
  type Quotas,
  type Scope,
  SCOPES,
} from "@vqd/shared/api-key.ts";
import { PRIORITIES, type Priority } from "@vqd/shared/subjects.ts";
import { currentUser } from "@vqd/gpu-worker/util/current-user.ts";
import { CloudflareKeys, type KeyAct, type KeyStore, LocalKeys, type StoredKey } from "./key-store.ts";
import { DEFAULT_DATA } from "./stack/paths.ts";
import { UsageError } from "./usage-error.ts";

const HELP = `Usage: npm run keys -- create NAME [options]   create a key, and print it once
       npm run keys -- list [options]          list all keys, by the first digits of their hashes
       npm run keys -- revoke ID [options]     revoke a key, which takes effect within a minute
       npm run keys -- quota ID [options]      set its quotas to those of --monthly, or to none; within a minute, too
       npm run keys -- log [options]           what was done by these commands in the last 400 days

Keys with the same NAME share predictions.

  --scopes LIST     what the key may do: create, read, admin, metrics, billing
                    [create,read,admin]
  --per-minute N    maximum predictions per minute                          [the edge's RATE_LIMIT_PER_MINUTE]
  --live N          maximum predictions live at once                        [the edge's LIVE_LIMIT]
  --priority P      highest priority of its predictions: high, normal or low  [normal]
  --monthly LIST    what its owner may use in a calendar month (UTC), such as
                    images=1000,steps=25000,gpu_seconds=3600        [no limit]
  --expires DAYS    days after which the key expires, at most 36500         [never]
  --data DIR        data folder of npm start (VQD_DATA)                     [.vqd]
  --remote          keys of the edge deployed by wrangler deploy --env production, through wrangler
  --json            JSON instead of text
  -h, --help        this text
`;

/** A caller's key does not see the hubs' counts, which cover all callers. */
const DEFAULT_SCOPES: readonly Scope[] = ["create", "read", "admin"];
const KEY_BYTES = 24;
const DAY_MS = 24 * 60 * 60 * 1_000;
/** A century: numbers of days can exceed the range of dates. */
const MAX_DAYS = 36_500;
const ID = /^[0-9a-f]{12,64}$/;

function positive(name: string, text: string | undefined, max = Infinity): number | null {
  if (text === undefined) return null;
  const value = Number(text);
  if (!Number.isInteger(value) || value < 1) throw new UsageError(`--${name} must be an integer above 0`);
  if (value > max) throw new UsageError(`--${name} must be at most ${max}`);
  return value;
}

/** As for `npm start`: a relative path starts from the caller's folder. */
function dataFolder(given: string | undefined): string {
  if (given === "") throw new UsageError("--data needs a value");
  return resolve(given ?? (process.env["VQD_DATA"] || DEFAULT_DATA));
}

/** The date, or "never", also for a time beyond the range of dates, which earlier releases could store. */
function dayOf(ms: number | null): string {
  const date = new Date(ms ?? Number.NaN);
  return Number.isNaN(date.getTime()) ? "never" : date.toISOString().slice(0, 10);
}

function readScopes(text: string): Scope[] {
  const scopes = text.split(",").map((scope) => scope.trim());
  const known = SCOPES.filter((scope) => scopes.includes(scope));
  if (known.length !== scopes.length) throw new UsageError(`--scopes must be a list of ${SCOPES.join(", ")}`);
  return known;
}

function readPriority(text: string): Priority {
  const priority = PRIORITIES.find((one) => one === text);
  if (priority === undefined) throw new UsageError(`--priority must be one of ${PRIORITIES.join(", ")}`);
  return priority;
}

/** The key's quotas as --monthly has them; none for an empty list. */
function quotasOf(text: string): Pick<ApiKey, "quotas"> {
  if (text === "") return {};
  const quotas: Quotas = {};
  for (const pair of text.split(",")) {
    const [, left = "", amount = ""] = /^\s*(\w+)=(\d{1,15})\s*$/.exec(pair) ?? [];
    const name = QUOTAS.find((one) => one === left);
    if (name === undefined || Number(amount) < 1 || name in quotas) {
      throw new UsageError(`--monthly must be a list such as images=1000, of ${QUOTAS.join(", ")}`);
    }
    quotas[name] = Number(amount);
  }
  return { quotas };
}

/** The key with that id. Throws unless there is exactly one. */
async function find(store: KeyStore, id: string | undefined): Promise<StoredKey> {
  if (id === undefined || !ID.test(id)) throw new UsageError("ID must be one that list shows");
  const [found, ...others] = (await store.list()).filter(({ hash }) => hash.startsWith(id));
  if (found === undefined || others.length > 0) throw new Error(`there is no key ${id}`);
  return found;
}

/** For the log. */
const actOn = (action: KeyAct["action"], id: string, { name, scopes }: ApiKey): KeyAct => ({
  at: new Date().toISOString(),
  action,
  key: id,
  name,
  scopes,
  user: currentUser(),
});

async function main(): Promise<void> {
  const { values, positionals } = parseArgs({
    options: {
      scopes: { type: "string", default: DEFAULT_SCOPES.join(",") },
      "per-minute": { type: "string" },
      live: { type: "string" },
      priority: { type: "string", default: "normal" },
      monthly: { type: "string", default: "" },
      expires: { type: "string" },
      data: { type: "string" },
      remote: { type: "boolean", default: false },
      json: { type: "boolean", default: false },
      help: { type: "boolean", short: "h", default: false },
    },
    allowPositionals: true,
  });
  const [command, subject, ...rest] = positionals;
  if (values.help || command === undefined) {
    (values.help ? process.stdout : process.stderr).write(HELP);
    process.exitCode = values.help ? 0 : 2;
    return;
  }
  const takesSubject = ["create", "revoke", "quota"].includes(command);
  if (rest.length > 0 || (subject !== undefined) !== takesSubject) {
    throw new UsageError(`wrong arguments for ${command}; see npm run keys -- --help`);
  }
  const store = values.remote ? new CloudflareKeys() : new LocalKeys(join(dataFolder(values.data), "edge"));
  const say = (data: unknown, lines: readonly string[]): void =>
    void process.stdout.write(values.json ? `${JSON.stringify(data)}\n` : `${lines.join("\n")}\n`);

  if (command === "create") {
    const name = keyNameSchema.safeParse(subject);
    if (!name.success) throw new UsageError("NAME must be 1 to 64 letters, digits, dots, _ or -");
    const days = positive("expires", values.expires, MAX_DAYS);
    const key: ApiKey = {
      name: name.data,
      scopes: readScopes(values.scopes),
      createdAt: Date.now(),
      expiresAt: days === null ? null : Date.now() + days * DAY_MS,
      perMinute: positive("per-minute", values["per-minute"]),
      live: positive("live", values.live),
      priority: readPriority(values.priority),
      ...quotasOf(values.monthly),
    };
    const secret = `vqd_${randomBytes(KEY_BYTES).toString("base64url")}`;
    const hash = createHash("sha256").update(secret).digest("hex");
    const id = keyIdOf(hash);
    await store.note(actOn("key.created", id, key));
    await store.put(hash, key);
    // The key alone on stdout, for KEY=$(npm run --silent keys -- create NAME).
    say({ key: secret, id, ...key }, [secret]);
    if (!values.json)
      process.stderr.write(`stored as ${id}, by its hash only: the key will not be shown again\n`);
  } else if (command === "list") {
    const keys = await store.list();
    say(
      keys.map(({ hash, key }) => ({ id: keyIdOf(hash), ...key })),
      keys.length === 0
        ? ["no keys"]
        : keys.map(({ hash, key }) =>
            [keyIdOf(hash), key.name, key.scopes.join(","), `expires ${dayOf(key.expiresAt)}`].join("  "),
          ),
    );
  } else if (command === "revoke") {
    const found = await find(store, subject);
    await store.note(actOn("key.revoked", keyIdOf(found.hash), found.key));
    await store.delete(found.hash);
    say({ revoked: subject, name: found.key.name }, [`revoked ${subject} of ${found.key.name}`]);
  } else if (command === "quota") {
    const found = await find(store, subject);
    const { quotas: _, ...unlimited } = found.key;
    const key: ApiKey = { ...unlimited, ...quotasOf(values.monthly) };
    await store.note(actOn("key.quota_set", keyIdOf(found.hash), key));
    await store.put(found.hash, key);
    say({ id: keyIdOf(found.hash), ...key }, [`set the quotas of ${subject} of ${key.name}`]);
  } else if (command === "log") {
    const acts = await store.acts();
    say(
      acts,
      acts.length === 0
        ? ["nothing yet"]
        : acts.map(({ at, user, action, key, name, scopes }) =>
            [at, user, action, key, name, scopes.join(",")].join("  "),
          ),
    );
  } else {
    throw new UsageError(
      `unknown command ${JSON.stringify(command)}; the commands are create, list, revoke, quota, log`,
    );
  }
}

/** Wrangler's first error on one line, without errors in handling it; all output if there is none. */
function wranglerError(stderr: string): string {
  const text = stripVTControlCharacters(stderr);
  const error = /\[ERROR\](.*?)(?:\n{3}|✘|🪵|$)/s.exec(text)?.[1];
  return (error ?? text).replaceAll(/\s+/g, " ").trim();
}

try {
  await main();
} catch (error) {
  // If a process failed, `code` is its exit code.
  const { stderr = "", message, code } = error as Error & { stderr?: string; code?: unknown };
  process.stderr.write(`keys: ${wranglerError(stderr) || message}\n`);
  const isUsage = error instanceof UsageError || String(code).startsWith("ERR_PARSE_ARGS");
  process.exitCode = isUsage ? 2 : 1;
}
