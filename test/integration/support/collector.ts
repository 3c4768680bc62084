// An OpenTelemetry collector for tests: keeps the spans that it is sent, as OTLP in JSON.

import { createServer } from "node:http";
import { text } from "node:stream/consumers";
import { z } from "zod";
import { freePorts } from "../../../infra/stack/ports.ts";

const attributeSchema = z.object({
  key: z.string(),
  value: z.object({ stringValue: z.string().optional(), intValue: z.coerce.number().optional() }),
});
const spanSchema = z.object({
  traceId: z.string().regex(/^[0-9a-f]{32}$/),
  spanId: z.string().regex(/^[0-9a-f]{16}$/),
  parentSpanId: z.string().optional(),
  name: z.string(),
  startTimeUnixNano: z.coerce.bigint(),
  endTimeUnixNano: z.coerce.bigint(),
  attributes: z.array(attributeSchema),
});
const requestSchema = z.object({
  resourceSpans: z.array(
    z.object({
      resource: z.object({ attributes: z.array(attributeSchema) }),
      scopeSpans: z.array(z.object({ spans: z.array(spanSchema) })),
    }),
  ),
});

export interface CollectedSpan extends z.infer<typeof spanSchema> {
  readonly service: string;
}

export interface Collector extends AsyncDisposable {
  readonly url: string;
  readonly spans: readonly CollectedSpan[];
  /** All that was sent, as it came. */
  readonly bodies: readonly string[];
}

export async function startCollector(): Promise<Collector> {
  const spans: CollectedSpan[] = [];
  const bodies: string[] = [];
  const server = createServer((request, response) => {
    void (async () => {
      const body = await text(request);
      bodies.push(body);
      for (const { resource, scopeSpans } of requestSchema.parse(JSON.parse(body)).resourceSpans) {
        const service =
          resource.attributes.find(({ key }) => key === "service.name")?.value.stringValue ?? "?";
        for (const span of scopeSpans.flatMap((scope) => scope.spans)) spans.push({ ...span, service });
      }
      response.writeHead(200, { "content-type": "application/json" }).end("{}");
    })().catch(() => response.writeHead(400).end());
  });
  const [port = 0] = await freePorts(1);
  await new Promise<void>((resolve) => {
    server.listen(port, "127.0.0.1", resolve);
  });
  return {
    url: `http://127.0.0.1:${port}`,
    spans,
    bodies,
    async [Symbol.asyncDispose]() {
      server.closeAllConnections();
      await new Promise((resolve) => {
        server.close(resolve);
      });
    },
  };
}

/** The spans of a trace as an indented list with their times, in order of their starts. */
export function drawTrace(spans: readonly CollectedSpan[]): string {
  const ids = new Set(spans.map(({ spanId }) => spanId));
  const first = spans.reduce((least, { startTimeUnixNano: at }) => (at < least ? at : least), 2n ** 64n);
  const ms = (ns: bigint): string => (Number(ns) / 1e6).toFixed(1).padStart(8);
  const lines = [" start ms       ms  service     span"];
  const draw = (parent: string | undefined, depth: number): void => {
    const children = spans
      .filter((span) =>
        parent === undefined ? !ids.has(span.parentSpanId ?? "") : span.parentSpanId === parent,
      )
      .toSorted((one, other) => Number(one.startTimeUnixNano - other.startTimeUnixNano));
    for (const { spanId, service, name, startTimeUnixNano: start, endTimeUnixNano: end } of children) {
      lines.push(
        `${ms(start - first)} ${ms(end - start)}  ${service.padEnd(11)} ${"  ".repeat(depth)}${name}`,
      );
      draw(spanId, depth + 1);
    }
  };
  draw(undefined, 0);
  return lines.join("\n");
}
