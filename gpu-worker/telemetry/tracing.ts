// OpenTelemetry traces of jobs, under the request that made each; sent by OTLP where the standard variables say to.

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
/** Spans of a job that has ended are of use soon. */
const EXPORT_DELAY_MS = 1_000;

export interface TracingOptions {
  readonly release: string;
  readonly workerName: string;
}

/**
 * Starts tracing if OTEL_EXPORTER_OTLP_ENDPOINT or OTEL_EXPORTER_OTLP_TRACES_ENDPOINT is set; whether a job is traced its
 * edge has decided. Returns how to send what is left and stop.
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

/** Runs `work` in a span of its own, under the one that is active. Without tracing it only runs it. */
export function traced<T>(name: string, attributes: Attributes, work: () => Promise<T>): Promise<T> {
  return inSpan(name, SpanKind.INTERNAL, attributes, work);
}

/** Runs `work` in a span under the sender's of a message. */
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
      // The name alone: a message may tell of what a caller has sent.
      const message = error instanceof Error ? error.name : "error";
      span.setStatus({ code: SpanStatusCode.ERROR, message });
      throw error;
    } finally {
      span.end();
    }
  });
}

/** Adds to the active span what became known meanwhile. */
export function annotate(attributes: Attributes): void {
  trace.getActiveSpan()?.setAttributes(attributes);
}

/** Names the active span to those who go on elsewhere; undefined if there is none that is recorded. */
export function activeTraceparent(): string | undefined {
  const span = trace.getActiveSpan();
  return span === undefined ? undefined : traceparentOf(span.spanContext());
}

/** A message's headers, made anew for each since the client adds to them. */
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
