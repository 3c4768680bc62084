// `GET /healthz`: the worker's status as JSON, 200 while it accepts or runs jobs, 503 otherwise. `GET /metrics`: for Prometheus.

import { createServer, type IncomingMessage, type Server, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";

export type HealthStatus = "starting" | "ready" | "busy" | "draining" | "failed";

export interface HealthReport {
  status: HealthStatus;
  [detail: string]: string | number | boolean | null;
}

export interface HealthOptions {
  readonly host: string;
  /** 0 for any free port. */
  readonly port: number;
  /** Called for each request of /healthz. */
  readonly report: () => HealthReport;
  readonly metrics: { readonly contentType: string; render(): Promise<string> };
}

/** Starts the server. */
export async function startHealthServer({
  host,
  port,
  report,
  metrics,
}: HealthOptions): Promise<{ port: number; close: () => Promise<void> }> {
  const server: Server = createServer((request, response) => {
    const isRead = request.method === "GET" || request.method === "HEAD";
    if (isRead && request.url === "/metrics") {
      void sendMetrics(request, response, metrics);
      return;
    }
    if (!isRead || request.url !== "/healthz") {
      response
        .writeHead(404, { "content-type": "application/json" })
        .end('{"error":"only GET /healthz and GET /metrics are served"}\n');
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

async function sendMetrics(
  request: IncomingMessage,
  response: ServerResponse,
  metrics: HealthOptions["metrics"],
): Promise<void> {
  try {
    const text = await metrics.render();
    response
      .writeHead(200, { "content-type": metrics.contentType, "cache-control": "no-store" })
      .end(request.method === "HEAD" ? undefined : text);
  } catch {
    response.writeHead(500).end();
  }
}
