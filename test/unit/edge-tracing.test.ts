// The edge's sampling: what a caller's traceparent can and cannot decide.

import { TraceFlags } from "@opentelemetry/api";
import { expect, it } from "vitest";
import { Tracing } from "../../edge/telemetry/tracing.ts";

const SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-01";
const NOT_SAMPLED = "00-0af7651916cd43dd8448eb211c80319c-00f067aa0ba902b7-00";

it.each([
  [0, SAMPLED, TraceFlags.NONE],
  [1, SAMPLED, TraceFlags.SAMPLED],
  [1, NOT_SAMPLED, TraceFlags.NONE],
  [0, undefined, TraceFlags.NONE],
  [1, undefined, TraceFlags.SAMPLED],
])("at a ratio of %s, a span under %s has the flags %s", (ratio, parent, flags) => {
  const tracing = new Tracing({ endpoint: "http://127.0.0.1:1", headers: {}, ratio });
  expect(tracing.start("span", { parent, attributes: {} }).spanContext().traceFlags).toBe(flags);
});
