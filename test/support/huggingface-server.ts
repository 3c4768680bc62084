// A server on this machine that speaks the Hugging Face Hub's protocol, as far as downloads need it.

import { createHash } from "node:crypto";
import { createServer, type IncomingMessage, type ServerResponse } from "node:http";
import type { AddressInfo } from "node:net";
import { onTestFinished } from "vitest";

export interface HubFile {
  readonly content: Uint8Array;
  /** Kept as a large file, listed with its SHA-256. */
  readonly large?: boolean;
  /** What the listing says instead of the truth. */
  readonly listed?: Record<string, unknown>;
}

const COMMIT = "c0ffee".padEnd(40, "0");
const PAGE = 7;

const hash = (algorithm: string, ...parts: (string | Uint8Array)[]): string => {
  const digest = createHash(algorithm);
  for (const part of parts) digest.update(part);
  return digest.digest("hex");
};

export class FakeHuggingFace {
  readonly files = new Map<string, HubFile>();
  /** "GET /path" with the range, of every request for a file. */
  readonly requests: { path: string; range: string | undefined; authorization: string | undefined }[] = [];
  /** The repository is private to this token. */
  token: string | undefined;
  /** Answers in place of the server if it returns true. */
  intercept: (path: string, request: IncomingMessage, response: ServerResponse) => boolean = () => false;
  url = "";

  static async start(): Promise<FakeHuggingFace> {
    const hub = new FakeHuggingFace();
    const server = createServer((request, response) => hub.#answer(request, response));
    await new Promise<void>((resolve) => {
      server.listen(0, "127.0.0.1", resolve);
    });
    hub.url = `http://127.0.0.1:${(server.address() as AddressInfo).port}`;
    onTestFinished(async () => {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    });
    return hub;
  }

  #answer(request: IncomingMessage, response: ServerResponse): void {
    const { pathname, searchParams } = new URL(request.url ?? "/", this.url);
    const path = decodeURIComponent(pathname);
    const { authorization } = request.headers;
    if (this.token !== undefined && authorization !== `Bearer ${this.token}`) {
      return json(response, 401, { error: "Invalid username or password." });
    }
    const revision = /^\/api\/models\/owner\/model\/revision\/(.+)$/.exec(path)?.[1];
    if (revision !== undefined) {
      if (revision !== "main" && revision !== "v1") return json(response, 404, { error: "Invalid rev id" });
      return json(response, 200, { _id: "1", id: "owner/model", private: false, sha: COMMIT });
    }
    if (path === `/api/models/owner/model/tree/${COMMIT}`) {
      return this.#list(response, Number(searchParams.get("cursor") ?? 0));
    }
    const file = path.replace(`/owner/model/resolve/${COMMIT}/`, "");
    if (!path.startsWith("/owner/model/resolve/")) return json(response, 404, { error: "Not found" });
    this.requests.push({ path: file, range: request.headers.range, authorization });
    if (!this.intercept(file, request, response)) this.send(file, request, response);
  }

  /** In pages, as the Hugging Face Hub does for long lists. */
  #list(response: ServerResponse, from: number): void {
    const all = [...this.files].map(([path, { content, large, listed }]) => {
      const size = content.length;
      const lfs = large === true ? { lfs: { oid: hash("sha256", content), size, pointerSize: 130 } } : {};
      const entry = { type: "file", path, size, oid: hash("sha1", `blob ${size}\0`, content) };
      return Object.assign(entry, lfs, listed);
    });
    const next = `<${this.url}/api/models/owner/model/tree/${COMMIT}?recursive=true&cursor=${from + PAGE}>; rel="next"`;
    json(response, 200, all.slice(from, from + PAGE), from + PAGE < all.length ? { link: next } : {});
  }

  /** The file, or the range of it that is asked for; at most `limit` bytes of it, after which the connection stays open. */
  send(path: string, request: IncomingMessage, response: ServerResponse, limit?: number): void {
    const content = this.files.get(path)?.content;
    if (content === undefined) return json(response, 404, { error: "Entry not found" });
    const asked = /^bytes=(\d+)-(\d*)$/.exec(request.headers.range ?? "");
    const begin = Number(asked?.[1] ?? 0);
    const end = asked?.[2] ? Number(asked[2]) + 1 : content.length;
    if (asked !== null && begin >= content.length) {
      response.writeHead(416, { "content-range": `bytes */${content.length}` }).end();
      return;
    }
    const rest = content.subarray(begin, end);
    const range = `bytes ${begin}-${begin + rest.length - 1}/${content.length}`;
    const headers = { "content-length": rest.length, ...(asked === null ? {} : { "content-range": range }) };
    response.writeHead(asked === null ? 200 : 206, headers);
    if (limit === undefined) response.end(rest);
    else response.write(rest.subarray(0, limit));
  }
}

function json(
  response: ServerResponse,
  status: number,
  body: unknown,
  headers: Record<string, string> = {},
): void {
  response.writeHead(status, { "content-type": "application/json", ...headers }).end(JSON.stringify(body));
}
