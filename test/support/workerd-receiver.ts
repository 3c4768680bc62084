// Global set-up of the workerd tests: a receiver of webhooks and a source of images at two ports, which tests in workerd cannot be
// themselves.

import { createServer, type RequestListener, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    receiverPort: number;
    secondReceiverPort: number;
  }
}

/**
 * `POST /held/...` hangs until `DELETE` of the same path, with `?status=`, answers all of its requests; other posts
 * are answered at once, with 204. `GET` gives the bodies that have been posted to a path. A WebSocket is never opened,
 * and never refused. `GET /image` is the first bytes of a PNG file and `size` bytes in all, or another answer: `status`,
 * `location`, or `text` as its body.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const bodies = new Map<string, string[]>();
  const held = new Map<string, ServerResponse[]>();
  const listener: RequestListener = (incoming, response) => {
    if (incoming.headers.upgrade !== undefined) return;
    const { pathname, searchParams } = new URL(incoming.url ?? "", "http://receiver");
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      if (pathname === "/image") {
        const location = searchParams.get("location");
        response.writeHead(Number(searchParams.get("status") ?? 200), location === null ? {} : { location });
        const file = Buffer.alloc(Number(searchParams.get("size") ?? 60), 1);
        file.write("\x89PNG\r\n\x1a\n", "latin1");
        // The answer to a client that leaves is of no interest.
        response.on("error", () => {});
        response.end(searchParams.get("text") ?? file);
      } else if (incoming.method === "GET") {
        response.end(JSON.stringify(bodies.get(pathname) ?? []));
      } else if (incoming.method === "DELETE") {
        const status = Number(searchParams.get("status"));
        for (const one of held.get(pathname) ?? []) one.writeHead(status).end();
        held.delete(pathname);
        response.end();
      } else {
        bodies.set(pathname, [...(bodies.get(pathname) ?? []), Buffer.concat(chunks).toString()]);
        if (pathname.startsWith("/held/")) held.set(pathname, [...(held.get(pathname) ?? []), response]);
        else response.writeHead(204).end();
      }
    });
  };
  const servers = [createServer(listener), createServer(listener)];
  for (const server of servers) {
    await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  }
  const [first = 0, second = 0] = servers.map((server) => (server.address() as AddressInfo).port);
  project.provide("receiverPort", first);
  project.provide("secondReceiverPort", second);
  return async () => {
    for (const server of servers) {
      server.closeAllConnections();
      await new Promise((resolve) => server.close(resolve));
    }
  };
}
