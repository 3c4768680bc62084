// Lets workers of other machines reach the stack's nats-server, which listens on loopback only: by TLS, at one address.

import { readFileSync } from "node:fs";
import { connect, isIP, type Socket } from "node:net";
import { join } from "node:path";
import { createServer, type Server } from "node:tls";
import { once } from "node:events";
import { X509Certificate } from "node:crypto";
import { joinToken } from "@vqd/shared/nats/join.ts";
import { type Certificate, createCa, createCertificate } from "../nats/cluster/certificates.ts";
import { privateFolder, writePrivateFile } from "./files.ts";
import type { LogSink } from "./log.ts";

/** Connections at a time, of all workers. */
const MAX_CONNECTIONS = 256;
const HANDSHAKE_LIMIT_MS = 5_000;
/** Its certificate lasts as long as a stack may run; each start makes a new one. */
const CERTIFICATE_DAYS = 365;

export interface Listen {
  /** An address or name of this machine, by which the others reach it. */
  readonly host: string;
  readonly port: number;
}

export interface GatewayOptions extends Listen {
  readonly natsDir: string;
  /** Of nats-server, on loopback. */
  readonly natsPort: number;
  /** Of the user `worker`. */
  readonly password: string;
  readonly log: LogSink;
}

/** Ends TLS, and passes on NATS' protocol unread, but for the server's first message: clients insist on hearing there of TLS. */
export class Gateway {
  /** What a worker elsewhere needs to know. */
  readonly token: string;
  readonly #server: Server;
  readonly #open = new Set<Socket>();

  private constructor(server: Server, token: string, natsPort: number) {
    this.#server = server;
    this.token = token;
    server.on("secureConnection", (outside) => {
      const inside = connect(natsPort, "127.0.0.1");
      inside.once("readable", () => {
        const first: unknown = inside.read();
        if (Buffer.isBuffer(first)) outside.write(withTls(first));
        inside.pipe(outside);
      });
      outside.pipe(inside);
      for (const [socket, other] of [
        [outside, inside],
        [inside, outside],
      ] as const) {
        this.#open.add(socket);
        socket.setNoDelay(true);
        socket.on("error", () => {});
        socket.on("close", () => {
          this.#open.delete(socket);
          other.destroy();
        });
      }
    });
    // A scanner, or a client without TLS.
    server.on("tlsClientError", (_, socket) => void socket.destroy());
  }

  /** Throws an Error if it cannot listen there. */
  static async start({ host, port, natsDir, natsPort, password, log }: GatewayOptions): Promise<Gateway> {
    const ca = await loadCa(natsDir);
    const { certificate: cert, key } = await createCertificate(ca, [host], CERTIFICATE_DAYS);
    const server = createServer({ cert, key, minVersion: "TLSv1.2", handshakeTimeout: HANDSHAKE_LIMIT_MS });
    server.maxConnections = MAX_CONNECTIONS;
    server.listen(port, host);
    try {
      await once(server, "listening");
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      throw new Error(`--listen ${host}:${port}: ${reason}`, { cause });
    }
    const bound = server.address();
    const url = `tls://${isIP(host) === 6 ? `[${host}]` : host}:${typeof bound === "object" ? bound?.port : port}`;
    log({ source: "stack", level: "info", text: `workers of other machines reach NATS at ${url}` });
    const der = new X509Certificate(ca.certificate).raw.toString("base64");
    return new Gateway(server, joinToken({ v: 1, url, password, ca: der }), natsPort);
  }

  async stop(): Promise<void> {
    const closed = once(this.#server, "close");
    this.#server.close();
    for (const socket of this.#open) socket.destroy();
    await closed;
  }
}

/** What nats-server sends first, a line of JSON, as one with TLS would say it; it also names no way around the gateway. */
function withTls(first: Buffer): Buffer {
  const end = first.indexOf("\r\n");
  const [, json] = /^INFO (\{.*\})\s*$/.exec(first.toString("utf8", 0, Math.max(0, end))) ?? [];
  if (json === undefined) return first;
  const { connect_urls: _, ...info } = JSON.parse(json) as Record<string, unknown>;
  return Buffer.concat([
    Buffer.from(`INFO ${JSON.stringify({ ...info, tls_required: true })}`),
    first.subarray(end),
  ]);
}

/** The data folder's own CA, made when it is first needed: tokens outlive a restart. */
async function loadCa(natsDir: string): Promise<Certificate> {
  const folder = privateFolder(join(natsDir, "tls"));
  const [certificateFile, keyFile] = [join(folder, "ca.pem"), join(folder, "ca-key.pem")];
  try {
    return { certificate: readFileSync(certificateFile, "utf8"), key: readFileSync(keyFile, "utf8") };
  } catch (error) {
    if (!(error instanceof Error && "code" in error && error.code === "ENOENT")) throw error;
  }
  const ca = await createCa("vqd stack");
  writePrivateFile(keyFile, ca.key);
  writePrivateFile(certificateFile, ca.certificate);
  return ca;
}
