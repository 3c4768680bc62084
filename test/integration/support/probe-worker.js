// A Worker in the edge's place: it does with its bindings what the path says, so that a test sees what they are.

import { DurableObject } from "cloudflare:workers";

export class Hub extends DurableObject {}

// oxlint-disable-next-line no-console -- the console is a Worker's only log
const say = (/** @type {string} */ text) => console.log(text);

/** A promise that nothing will resolve is one that workerd takes for a hung Worker's. */
const wait = () => scheduler.wait(60_000);

/** @type {Record<string, (context: any) => Response | Promise<Response>>} */
const ACTIONS = {
  "/healthz": () => Response.json({ nats: "connected" }),
  "/env": ({ env }) =>
    Response.json(Object.fromEntries(Object.entries(env).filter(([, value]) => typeof value === "string"))),
  "/fetch": async ({ query }) => Response.json({ status: (await fetch(query.get("url"))).status }),
  "/socket": async ({ query }) => {
    const socket = new WebSocket(query.get("url"));
    const opened = await new Promise((resolve) => {
      socket.addEventListener("open", () => resolve(true));
      socket.addEventListener("error", () => resolve(false));
      socket.addEventListener("close", () => resolve(false));
    });
    if (opened) socket.close();
    return Response.json({ opened });
  },
  "/files/put": async ({ env, query, request }) => {
    await env.FILES.put(query.get("key"), await request.bytes(), {
      httpMetadata: { contentType: "image/png" },
    });
    return new Response();
  },
  "/files/get": async ({ env, query, request }) => {
    const file = await env.FILES.get(query.get("key"), { onlyIf: request.headers });
    if (file === null) return new Response(null, { status: 404 });
    const headers = { etag: file.httpEtag, "content-type": file.httpMetadata.contentType };
    return "body" in file
      ? new Response(file.body, { headers })
      : new Response(null, { status: 304, headers });
  },
  "/files/list": async ({ env, query }) => {
    const { objects } = await env.FILES.list({ prefix: query.get("prefix") });
    return Response.json(objects.map(({ key }) => key));
  },
  "/files/delete": async ({ env, query }) => {
    await env.FILES.delete(query.getAll("key"));
    return new Response();
  },
  "/files/head": async ({ env }) => Response.json(await env.FILES.head("a/0.png")),
  "/keys/get": async ({ env, query }) =>
    Response.json(await env.KEYS.get(query.get("name"), { type: "json", cacheTtl: 30 })),
  "/keys/list": async ({ env, query }) =>
    Response.json(await env.KEYS.list({ prefix: query.get("prefix"), limit: 1 })),
  "/keys/put": async ({ env }) => {
    await env.KEYS.put("key:planted", "{}");
    return new Response();
  },
  "/wait": ({ request }) => {
    say("waiting");
    request.signal.addEventListener("abort", () => say("left"));
    return wait();
  },
  "/soon": async () => {
    say("soon");
    await scheduler.wait(300);
    return new Response("done");
  },
  "/stream": () =>
    new Response(
      new ReadableStream({
        start: (controller) => controller.enqueue(new TextEncoder().encode("begun")),
        pull: wait,
        cancel: () => say("left"),
      }),
    ),
};

export default {
  /** @param {Request} request @param {any} env */
  async fetch(request, env) {
    const { pathname, searchParams: query } = new URL(request.url);
    try {
      return await (ACTIONS[pathname]?.({ request, env, query }) ?? new Response(null, { status: 404 }));
    } catch (error) {
      return Response.json(
        { error: error instanceof Error ? error.message : String(error) },
        { status: 500 },
      );
    }
  },
};
