// Global set-up of the workerd tests: a receiver of webhooks, which tests in workerd cannot be themselves.

import { createServer, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import type { TestProject } from "vitest/node";

declare module "vitest" {
  interface ProvidedContext {
    receiverPort: number;
  }
}

/**
 * `POST /held/...` hangs until `DELETE` of the same path, with `?status=`, answers all of its requests; other posts
 * are answered at once, with 204. `GET` gives the bodies that have been posted to a path. A WebSocket is never opened,
 * and never refused.
 */
export default async function setup(project: TestProject): Promise<() => Promise<void>> {
  const bodies = new Map<string, string[]>();
  const held = new Map<string, ServerResponse[]>();
  const server = createServer((incoming, response) => {
    if (incoming.headers.upgrade !== undefined) return;
    const { pathname, searchParams } = new URL(incoming.url ?? "", "http://receiver");
    const chunks: Buffer[] = [];
    incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
    incoming.on("end", () => {
      if (incoming.method === "GET") {
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
  });
  await new Promise<void>((resolve) => server.listen(0, "127.0.0.1", resolve));
  project.provide("receiverPort", (server.address() as AddressInfo).port);
  return async () => {
    server.closeAllConnections();
    await new Promise((resolve) => server.close(resolve));
  };
}
