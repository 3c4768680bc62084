// Which NATS a command connects to, and as which user: that of the environment, or that of `npm start`.

import { existsSync, readFileSync } from "node:fs";
import { join } from "node:path";
import { connect, type NatsConnection } from "nats";
import { z } from "zod";
import { INBOX_PREFIX } from "@vqd/shared/subjects.ts";
import { connectionOptions, type NatsSettings, natsSettings, natsVariables } from "../nats/settings.ts";
import { UsageError } from "./command.ts";

const DEFAULT_DATA = join(import.meta.dirname, "..", "..", ".vqd");
const CONNECT_LIMIT_MS = 5_000;

export const NATS_HELP = `\
Connects to VQD_NATS_URL with VQD_NATS_CREDS, or with VQD_NATS_USER and VQD_NATS_PASSWORD, and with VQD_NATS_CA for a
private CA; without VQD_NATS_URL, to the NATS of npm start.
`;

/** NATS users that commands connect as. */
export type CommandUser = "monitor" | "operator";

const configSchema = z.object({ port: z.int() });
const passwordsSchema = z.object({ monitor: z.string(), operator: z.string() });
const none = {
  user: undefined,
  password: undefined,
  credsFile: undefined,
  caFile: undefined,
  tlsFirst: false,
  certFile: undefined,
  keyFile: undefined,
};

/** `data` is a data folder of npm start; without one, the environment takes precedence. Throws an Error that says what is missing. */
export function settingsFor(
  user: CommandUser,
  data: string | undefined,
  env: NodeJS.ProcessEnv = process.env,
): NatsSettings {
  if (data === undefined && env["VQD_NATS_URL"]) {
    const given = Object.fromEntries(Object.entries(env).filter(([, value]) => value !== ""));
    const parsed = z.object(natsVariables).safeParse(given);
    if (!parsed.success) throw new UsageError(z.prettifyError(parsed.error));
    const settings = natsSettings(parsed.data);
    return settings.credsFile === undefined ? { ...settings, user: settings.user ?? user } : settings;
  }
  const folder = join(data ?? (env["VQD_DATA"] || DEFAULT_DATA), "nats");
  const read = <T>(file: string, schema: z.ZodType<T>): T => {
    const path = join(folder, file);
    if (!existsSync(path)) {
      throw new UsageError(
        `${path} does not exist: set VQD_NATS_URL, or --data to the data folder of npm start`,
      );
    }
    try {
      return schema.parse(JSON.parse(readFileSync(path, "utf8")));
    } catch (cause) {
      throw new Error(`${path} holds no server or password; npm start of this release rewrites it`, {
        cause,
      });
    }
  };
  const { port } = read("nats-server.conf", configSchema);
  const password = read("passwords.json", passwordsSchema)[user];
  return { ...none, servers: [`nats://127.0.0.1:${port}`], user, password };
}

/** Connects once; on failure throws an Error that says where to, as which user, and why it failed. */
export async function connectAs(
  user: CommandUser,
  settings: NatsSettings,
  command: string,
): Promise<NatsConnection> {
  try {
    return await connect({
      ...connectionOptions(settings),
      name: command,
      inboxPrefix: INBOX_PREFIX[user],
      timeout: CONNECT_LIMIT_MS,
      reconnect: false,
    });
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    const who = settings.credsFile ?? settings.user ?? "nobody";
    throw new Error(`cannot connect to ${settings.servers.join(",")} as ${who}: ${reason}`, { cause });
  }
}
