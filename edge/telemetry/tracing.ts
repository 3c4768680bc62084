// OpenTelemetry traces of the edge: spans of requests and of the hub, exported as OTLP over HTTP after each unit of work.

import {
  type Attributes,
  type Context,
  ROOT_CONTEXT,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "@opentelemetry/api";
import { parseTraceParent } from "@opentelemetry/core";
import { JsonTraceSerializer } from "@opentelemetry/otlp-transformer";
import { resourceFromAttributes } from "@opentelemetry/resources";
import {
  ParentBasedSampler,
  type ReadableSpan,
  type SpanProcessor,
  TraceIdRatioBasedSampler,
  TracerProvider,
} from "@opentelemetry/sdk-trace";
import { traceparentOf } from "@vqd/shared/headers.ts";
import { errorFields, type Logger } from "@vqd/shared/log.ts";
import type { Config, TracingOptions } from "../config.ts";

const SCOPE = "vqd-edge";
const EXPORT_TIMEOUT_MS = 5_000;
/** Finished spans held until the next export; more are dropped. */
const MAX_PENDING = 2_048;

/** Holds finished spans until `flush`: there is no timer that could export them while no request is running. */
class PendingSpans implements SpanProcessor {
  #spans: ReadableSpan[] = [];

  onStart(): void {}

  onEnd(span: ReadableSpan): void {
    if (this.#spans.length < MAX_PENDING) this.#spans.push(span);
  }

  take(): ReadableSpan[] {
    return this.#spans.splice(0);
  }

  async forceFlush(): Promise<void> {}

  async shutdown(): Promise<void> {
    this.#spans = [];
  }
}

export class Tracing {
  readonly #options: TracingOptions;
  readonly #pending = new PendingSpans();
  readonly #tracer: Tracer;

  constructor(options: TracingOptions) {
    this.#options = options;
    if (options.endpoint === undefined) {
      this.#tracer = trace.getTracer(SCOPE);
      return;
    }
    const sampler = new TraceIdRatioBasedSampler(options.ratio);
    const provider = new TracerProvider({
      resource: resourceFromAttributes({ "service.name": SCOPE }),
      // A caller's sampling flag must not decide how much is exported.
      sampler: new ParentBasedSampler({ root: sampler, remoteParentSampled: sampler }),
      spanProcessors: [this.#pending],
    });
    this.#tracer = provider.getTracer(SCOPE);
  }

  /** Starts a span, as a child of `parent` (a traceparent) if that is present and valid. */
  start(name: string, { kind, parent, attributes }: SpanOptions): Span {
    return this.#tracer.startSpan(name, { kind: kind ?? SpanKind.INTERNAL, attributes }, contextOf(parent));
  }

  /**
   * Runs `work` in a span under `parent` and passes it the span's traceparent, for whatever continues the trace. Without
   * a parent the request is not traced, and `work` runs without a span.
   */
  async traced<T>(
    name: string,
    options: SpanOptions,
    work: (traceparent: string | undefined) => Promise<T>,
  ): Promise<T> {
    if (options.parent === undefined) return work(undefined);
    const span = this.start(name, options);
    try {
      return await work(traceparentOf(span.spanContext()));
    } catch (error) {
      // Only the name: a message may quote what the caller sent.
      span.setStatus({ code: SpanStatusCode.ERROR, message: error instanceof Error ? error.name : "error" });
      throw error;
    } finally {
      span.end();
    }
  }

  /** Exports the finished spans. Never rejects: a failing collector must not make anything else fail. */
  async flush(log: Logger): Promise<void> {
    const { endpoint, headers } = this.#options;
    const spans = this.#pending.take();
    const body = spans.length === 0 ? undefined : JsonTraceSerializer.serializeRequest(spans);
    if (endpoint === undefined || body === undefined) return;
    try {
      const response = await fetch(`${endpoint}/v1/traces`, {
        method: "POST",
        headers: { ...headers, "content-type": "application/json" },
        body,
        signal: AbortSignal.timeout(EXPORT_TIMEOUT_MS),
      });
      await response.body?.cancel();
      if (!response.ok)
        log.warn("the collector refused spans", { status: response.status, spans: spans.length });
    } catch (error) {
      log.warn("cannot export spans", { spans: spans.length, ...errorFields(error) });
    }
  }
}

export interface SpanOptions {
  readonly kind?: SpanKind;
  readonly parent: string | undefined;
  readonly attributes: Attributes;
}

function contextOf(traceparent: string | undefined): Context {
  const parent = traceparent === undefined ? null : parseTraceParent(traceparent);
  return parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, { ...parent, isRemote: true });
}

const known = new WeakMap<Config, Tracing>();

/** The tracer for a configuration, shared by all requests. */
export function tracingOf(config: Config): Tracing {
  let tracing = known.get(config);
  if (tracing === undefined) known.set(config, (tracing = new Tracing(config.tracing)));
  return tracing;
}
