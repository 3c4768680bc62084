// How the worker and its command line connect to NATS: servers, credentials and TLS, from the environment.

import { readFileSync } from "node:fs";
import { type ConnectionOptions, credsAuthenticator } from "nats";
import { z } from "zod";

const DEFAULT_URL = "nats://127.0.0.1:4222";
const SCHEMES = new Set(["nats:", "tls:"]);

const serversSchema = z
  .string()
  .transform((list) => list.split(",").map((url) => url.trim()))
  .refine(
    (urls) => urls.every((url) => SCHEMES.has(URL.parse(url)?.protocol ?? "")),
    "must be nats:// or tls:// URLs, comma separated",
  );
const text = (description: string) => z.string().optional().meta({ description });

/** The variables with their help texts, to be spread into a schema of the whole environment. */
export const natsVariables = {
  VQD_NATS_URL: serversSchema.prefault(DEFAULT_URL).meta({
    description: "servers of one cluster, comma separated; tls:// requires TLS",
    default: DEFAULT_URL,
  }),
  VQD_NATS_USER: text("user name"),
  VQD_NATS_PASSWORD: text("its password"),
  VQD_NATS_CREDS: text("credentials file, instead of user and password"),
  VQD_NATS_CA: text("PEM file of the CA to trust instead of the public ones"),
  VQD_NATS_TLS_FIRST: z.enum(["0", "1"]).prefault("0").meta({
    description:
      "1: TLS before the server's first message, where a proxy ends it or the server has handshake_first",
    default: "0",
  }),
  VQD_NATS_CERT: text("PEM file of this client's certificate, for servers that ask for one"),
  VQD_NATS_KEY: text("PEM file of the certificate's key"),
};

export interface NatsSettings {
  /** `nats://` or `tls://` URLs of the servers of one cluster; `tls` requires encryption. */
  readonly servers: readonly string[];
  readonly user: string | undefined;
  readonly password: string | undefined;
  /** Credentials file (JWT and seed), reread for each connection, so that it can be replaced while the process runs. */
  readonly credsFile: string | undefined;
  /** PEM files: the CA to trust instead of the public ones, and this client's certificate and key. */
  readonly caFile: string | undefined;
  /** Whether TLS comes before the server's first message. */
  readonly tlsFirst: boolean;
  readonly certFile: string | undefined;
  readonly keyFile: string | undefined;
}

export function natsSettings(env: z.infer<z.ZodObject<typeof natsVariables>>): NatsSettings {
  return {
    servers: env.VQD_NATS_URL,
    user: env.VQD_NATS_USER,
    password: env.VQD_NATS_PASSWORD,
    credsFile: env.VQD_NATS_CREDS,
    caFile: env.VQD_NATS_CA,
    tlsFirst: env.VQD_NATS_TLS_FIRST === "1",
    certFile: env.VQD_NATS_CERT,
    keyFile: env.VQD_NATS_KEY,
  };
}

/** Throws an Error that names the variable whose file cannot be read. */
export function connectionOptions(settings: NatsSettings): ConnectionOptions {
  const { servers, user, password, credsFile, caFile, tlsFirst, certFile, keyFile } = settings;
  for (const [variable, file] of [
    ["VQD_NATS_CREDS", credsFile],
    ["VQD_NATS_CA", caFile],
    ["VQD_NATS_CERT", certFile],
    ["VQD_NATS_KEY", keyFile],
  ] as const) {
    if (file !== undefined) readNamed(variable, file);
  }
  const wantsTls =
    tlsFirst ||
    caFile !== undefined ||
    certFile !== undefined ||
    servers.some((url) => url.startsWith("tls:"));
  return {
    servers: [...servers],
    ...(user === undefined ? {} : { user }),
    ...(password === undefined ? {} : { pass: password }),
    ...(credsFile === undefined
      ? {}
      : { authenticator: credsAuthenticator(() => readNamed("VQD_NATS_CREDS", credsFile)) }),
    // With this, the client rejects a server that offers no TLS.
    ...(wantsTls
      ? {
          tls: {
            ...(caFile === undefined ? {} : { caFile }),
            ...(certFile === undefined ? {} : { certFile }),
            ...(keyFile === undefined ? {} : { keyFile }),
            ...(tlsFirst ? { handshakeFirst: true } : {}),
          },
        }
      : {}),
  };
}

function readNamed(variable: string, file: string): Uint8Array {
  try {
    return readFileSync(file);
  } catch (cause) {
    const reason = cause instanceof Error ? cause.message : String(cause);
    throw new Error(`${variable}: ${reason}`, { cause });
  }
}
