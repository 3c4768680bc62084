// `GET /healthz`: the worker's state as JSON, 200 while it takes or runs jobs, 503 otherwise.

import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";

export type HealthStatus = "starting" | "ready" | "busy" | "draining" | "failed";

export interface HealthReport {
  status: HealthStatus;
  [detail: string]: string | number | boolean | null;
}

/** Starts the server on `host:port` (0 for any free port); `report` is called for each request. */
export async function startHealthServer(
  host: string,
  port: number,
  report: () => HealthReport,
): Promise<{ port: number; close: () => Promise<void> }> {
  const server: Server = createServer((request, response) => {
    if (request.url !== "/healthz" || (request.method !== "GET" && request.method !== "HEAD")) {
      response
        .writeHead(404, { "content-type": "application/json" })
        .end('{"error":"only GET /healthz is served"}\n');
      return;
    }
    const body = report();
    const serving = body.status === "ready" || body.status === "busy";
    response
      .writeHead(serving ? 200 : 503, { "content-type": "application/json", "cache-control": "no-store" })
      .end(request.method === "HEAD" ? undefined : `${JSON.stringify(body)}\n`);
  });
  await new Promise<void>((resolve, reject) => {
    server.once("error", reject);
    server.listen(port, host, resolve);
  });
  return {
    port: (server.address() as AddressInfo).port,
    close: () =>
      new Promise((resolve) => {
        server.close(() => resolve());
        server.closeAllConnections();
      }),
  };
}
