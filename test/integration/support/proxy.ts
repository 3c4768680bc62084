// A proxy in front of the edge that breaks its answers: what a test would say of an API that is wrong.

import { createServer, request as forward } from "node:http";
import type { AddressInfo } from "node:net";
import type { ApiClient } from "./client.ts";

/** Changes an answer's body; `path` is the request's. */
export type Breaking = (body: string, path: string) => string;

/** Closes itself at the end of its scope. Links in answers lead through it too, since it keeps the Host header. */
export async function breakingProxy(
  { url, apiKey }: ApiClient,
  breaking: Breaking,
): Promise<ApiClient & AsyncDisposable> {
  const target = new URL(url);
  const server = createServer((incoming, outgoing) => {
    const { method, url: path = "/" } = incoming;
    // Compressed, a body could not be changed.
    const { "accept-encoding": _, ...headers } = incoming.headers;
    const { hostname, port } = target;
    const sent = forward({ hostname, port, path, method, headers }, (answer) => {
      const chunks: Buffer[] = [];
      answer.on("data", (chunk: Buffer) => chunks.push(chunk));
      answer.on("error", () => outgoing.destroy());
      answer.on("end", () => {
        const { "transfer-encoding": __, "content-length": ___, ...kept } = answer.headers;
        const isText = /json|event-stream/.test(answer.headers["content-type"] ?? "");
        const body = Buffer.concat(chunks);
        outgoing.writeHead(answer.statusCode ?? 502, kept);
        outgoing.end(isText ? breaking(body.toString(), path) : body);
      });
    });
    sent.on("error", () => outgoing.destroy());
    incoming.pipe(sent);
  });
  await new Promise<void>((resolve) => {
    server.listen(0, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}`,
    apiKey,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}
