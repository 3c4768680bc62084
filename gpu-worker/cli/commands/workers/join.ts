// `vqd join`: a worker for the stack that `npm start -- --listen` runs on another machine.

import { X509Certificate } from "node:crypto";
import { mkdirSync, writeFileSync } from "node:fs";
import { isIP } from "node:net";
import { join as joinPath } from "node:path";
import { connect } from "node:tls";
import { parseJoinToken } from "@vqd/shared/nats/join.ts";
import { DEFAULT_CACHE_DIR } from "../../../config.ts";
import { type Command, readArguments, stringOptions, UsageError } from "../../command.ts";

const USAGE = "vqd join TOKEN [options]";
const CHECK_LIMIT_MS = 5_000;

const help = `Usage: ${USAGE}

Runs a worker for the stack that npm start -- --listen has started on another machine, which prints TOKEN. It serves
the same models: the bundled one, or give the same folders. Other settings are those of vqd worker, as environment
variables: VQD_PROVIDER, VQD_THREADS, ...

Options:
  --model DIR        checkpoint folder, or several, separated as in PATH (VQD_MODEL)   [the bundled model]
  --provider NAME    cpu, webgpu or cuda (VQD_PROVIDER)                                [cpu]
  -h, --help         this text

TOKEN holds the worker's password and the certificate to trust: whoever has it can run the stack's jobs.
`;

export const join: Command = {
  summary: "run a worker for a stack on another machine",
  help,
  options: stringOptions("model", "provider"),
  async run(positionals, values) {
    const [token] = readArguments(positionals, USAGE, ["TOKEN"]);
    let parsed;
    try {
      parsed = parseJoinToken(token);
    } catch (error) {
      throw new UsageError(error instanceof Error ? error.message : String(error));
    }
    const folder = joinPath(process.env["VQD_CACHE"] || DEFAULT_CACHE_DIR, "join");
    mkdirSync(folder, { recursive: true, mode: 0o700 });
    const caFile = joinPath(folder, "ca.pem");
    const ca = new X509Certificate(Buffer.from(parsed.ca, "base64")).toString();
    writeFileSync(caFile, ca, { mode: 0o600 });
    await checkCertificate(parsed.url, ca);
    Object.assign(process.env, {
      VQD_NATS_URL: parsed.url,
      VQD_NATS_USER: "worker",
      VQD_NATS_PASSWORD: parsed.password,
      VQD_NATS_CREDS: "",
      VQD_NATS_CA: caFile,
      VQD_NATS_TLS_FIRST: "1",
      ...(values["model"] === undefined ? {} : { VQD_MODEL: values["model"] }),
      ...(values["provider"] === undefined ? {} : { VQD_PROVIDER: values["provider"] }),
    });
    await import("../../../main.ts");
  },
};

/** Throws an Error if another certificate is presented there. That nobody answers is the worker's to wait for. */
async function checkCertificate(url: string, ca: string): Promise<void> {
  const { hostname, port } = new URL(url);
  const host = hostname.replaceAll(/[[\]]/g, "");
  await new Promise<void>((resolve, reject) => {
    const socket = connect({
      host,
      port: Number(port),
      ca,
      ...(isIP(host) === 0 ? { servername: host } : {}),
    });
    socket.setTimeout(CHECK_LIMIT_MS, () => socket.destroy());
    socket.once("secureConnect", () => socket.destroy());
    socket.once("error", (cause: NodeJS.ErrnoException) => {
      const isCertificate = /CERT|SIGNATURE|ISSUER|ALTNAME/.test(cause.code ?? "");
      if (!isCertificate) return;
      reject(
        new Error(`${url} proves itself by another certificate than the token's: is it another stack?`, {
          cause,
        }),
      );
    });
    socket.once("close", () => resolve());
  });
}
