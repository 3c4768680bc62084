// The public port of a self-hosted edge: forwards each connection, byte for byte, to a connection of its own to workerd's
// Unix socket.
//
// On a TCP connection workerd does not notice that a client has disconnected: it treats a FIN as a half-close, which HTTP
// permits, and continues computing a response for nobody. When a Unix socket is closed, it notices at once.

import { once } from "node:events";
import { connect, createServer, type Server, type Socket } from "node:net";
import { AddressLimit } from "./address-limit.ts";

/** Each takes two file descriptors here and one in workerd. A hub allows 2,000 event streams. */
const MAX_CONNECTIONS = 10_000;
/** A connection on which nothing arrives within this time is closed. */
const FIRST_BYTE_MS = 30_000;

export interface FrontOptions {
  readonly host: string;
  readonly port: number;
  /** Path of workerd's socket. */
  readonly socket: string;
}

/** Resolves when the port listens. Rejects if it is not available. */
export async function openFront({ host, port, socket }: FrontOptions): Promise<Server> {
  const limit = new AddressLimit();
  const server = createServer({ noDelay: true, keepAlive: true }, (client) => {
    const leave = limit.admit(client.remoteAddress ?? "");
    if (leave === undefined) {
      client.destroy();
      return;
    }
    client.once("close", leave);
    join(client, connect(socket));
  });
  server.maxConnections = MAX_CONNECTIONS;
  server.listen({ host, port });
  await once(server, "listening");
  return server;
}

function join(client: Socket, workerd: Socket): void {
  // An error is followed by "close", which closes the other side.
  client.on("error", () => {});
  workerd.on("error", () => {});
  client.setTimeout(FIRST_BYTE_MS, () => client.destroy());
  client.once("data", () => client.setTimeout(0));
  client.pipe(workerd);
  workerd.pipe(client);
  // As in other servers, a client that stops sending counts as gone.
  client.once("end", () => workerd.destroy());
  client.once("close", () => workerd.destroy());
  workerd.once("close", () => client.destroySoon());
}
