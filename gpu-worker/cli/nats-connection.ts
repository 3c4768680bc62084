// Which NATS a command speaks to, and as whom: that of the environment, or that of `npm start`.

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
Asks the NATS of VQD_NATS_URL, with VQD_NATS_CREDS or VQD_NATS_USER and VQD_NATS_PASSWORD and, for TLS by a private CA,
VQD_NATS_CA; without VQD_NATS_URL, that of npm start.
`;

/** Users that commands are. */
export type CommandUser = "monitor" | "operator";

const configSchema = z.object({ port: z.int() });
const passwordsSchema = z.object({ monitor: z.string(), operator: z.string() });
const none = {
  user: undefined,
  password: undefined,
  credsFile: undefined,
  caFile: undefined,
  certFile: undefined,
  keyFile: undefined,
};

/** `data` is a folder of npm start; without one the environment comes first. Throws an Error that says what is missing. */
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
      throw new UsageError(`${path} is not there: give VQD_NATS_URL, or --data with the folder of npm start`);
    }
    try {
      return schema.parse(JSON.parse(readFileSync(path, "utf8")));
    } catch (cause) {
      throw new Error(`${path} says no server or password; a newer npm start writes it anew`, { cause });
    }
  };
  const { port } = read("nats-server.conf", configSchema);
  const password = read("passwords.json", passwordsSchema)[user];
  return { ...none, servers: [`nats://127.0.0.1:${port}`], user, password };
}

/** Connects once; the Error says where, as whom, and why it failed. */
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
