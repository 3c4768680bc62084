// OpenTelemetry traces of jobs, as children of the requests that created them; exported by OTLP if the standard variables say so.

import { type Attributes, context, propagation, SpanKind, SpanStatusCode, trace } from "@opentelemetry/api";
import { AsyncLocalStorageContextManager } from "@opentelemetry/context-async-hooks";
import { W3CTraceContextPropagator } from "@opentelemetry/core";
import { OTLPTraceExporter } from "@opentelemetry/exporter-trace-otlp-http";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  BatchSpanProcessor,
  ParentBasedSampler,
  AlwaysOffSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { type MsgHdrs, headers } from "nats";
import { MESSAGE_HEADERS, traceparentOf } from "@vqd/shared/headers.ts";

const SCOPE = "vqd-worker";
/** Short, because the spans of a finished job are wanted soon. */
const EXPORT_DELAY_MS = 1_000;

export interface TracingOptions {
  readonly release: string;
  readonly workerName: string;
}

/**
 * Starts tracing if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; the edge decides which
 * jobs are traced. Returns a function that exports the remaining spans and stops.
 */
export function startTracing({ release, workerName }: TracingOptions): () => Promise<void> {
  const { env } = process;
  if (!env["OTEL_EXPORTER_OTLP_ENDPOINT"] && !env["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT"])
    return async () => {};
  const provider = new TracerProvider({
    resource: resourceFromAttributes({
      "service.name": env["OTEL_SERVICE_NAME"] || SCOPE,
      "service.version": release,
      "service.instance.id": workerName,
    }),
    sampler: new ParentBasedSampler({ root: new AlwaysOffSampler() }),
    spanProcessors: [
      new BatchSpanProcessor({ exporter: new OTLPTraceExporter(), scheduledDelayMillis: EXPORT_DELAY_MS }),
    ],
  });
  context.setGlobalContextManager(new AsyncLocalStorageContextManager().enable());
  propagation.setGlobalPropagator(new W3CTraceContextPropagator());
  trace.setGlobalTracerProvider(provider);
  return () => provider.shutdown();
}

/** Runs `work` in a span of its own, as a child of the active one. Without tracing, just runs it. */
export function traced<T>(name: string, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  return inSpan(name, SpanKind.INTERNAL, attributes, work);
}

/** Runs `work` in a span that is a child of the span of a message's sender. */
export function continueTrace<T>(
  received: MsgHdrs | undefined,
  name: string,
  attributes: Attributes,
  work: () => Promise<T>,
): Promise<T> {
  const carrier = { traceparent: received?.get(MESSAGE_HEADERS.traceparent) ?? "" };
  const parent = propagation.extract(context.active(), carrier);
  return context.with(parent, () => inSpan(name, SpanKind.CONSUMER, attributes, work));
}

function inSpan<T>(name: string, kind: SpanKind, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  return trace.getTracer(SCOPE).startActiveSpan(name, { kind, attributes }, async (span) => {
    try {
      return await work();
    } catch (error) {
      // The name only: a message may reveal what a caller has sent.
      const message = error instanceof Error ? error.name : "error";
      span.setStatus({ code: SpanStatusCode.ERROR, message });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Adds attributes to the active span. */
export function annotate(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes);
}

/** Names the active span for work that continues elsewhere; undefined if no span is being recorded. */
export function activeTraceparent(): string | undefined {
  const span = trace.getActiveSpan();
  return span === undefined ? undefined : traceparentOf(span.spanContext());
}

/** Headers for one message, created afresh because the client adds to them. */
export function traceHeaders(traceparent: string): MsgHdrs {
  const carried = headers();
  carried.set(MESSAGE_HEADERS.traceparent, traceparent);
  return carried;
}

/** The trace's id, for log lines. */
export function activeTraceId(): string | undefined {
  const ids = trace.getActiveSpan()?.spanContext();
  return ids === undefined || traceparentOf(ids) === undefined ? undefined : ids.traceId;
}
