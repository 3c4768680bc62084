// The NATS accounts: what each lets others use, and what it uses of them.
//
// Permissions alone would not keep workers apart. Whoever may publish to JetStream names a subject for the answer, and the
// server sends the answer there in its own name: to another model's queue, to a cancellation or, before nats-server 2.15, to
// JetStream's API itself. An answer never leaves the account that asked, though. So the workers of each set of models have
// an account of their own, and monitors have one; they import what they need of the account that holds the streams, where
// only the edge and the operator are users.

import { MICRO_SERVICE, MICRO_VERBS } from "@vqd/shared/nats/micro.ts";
import {
  API_DOMAIN,
  controlSubject,
  INBOX_PREFIX,
  jobConsumer,
  MODELS_FILTER,
  modelSubject,
  PRIORITIES,
  ROUTES_FILTER,
  stateSubject,
  STREAMS,
} from "@vqd/shared/subjects.ts";

/** Accounts that others import from. */
export type Exporter = "streams" | "monitor";

/** A service takes requests, or messages for a stream; a stream is what others may subscribe to. */
export interface Export {
  readonly type: "service" | "stream";
  readonly subject: string;
}

export interface Import extends Export {
  readonly from: Exporter;
  /** Its name in the importing account, where that is another one. */
  readonly local?: string | undefined;
}

const service = (subject: string): Export => ({ type: "service", subject });
const stream = (subject: string): Export => ({ type: "stream", subject });

/**
 * What a micro service (NATS ADR-32) receives: requests to all services, to its kind, and to itself. Each verb is listed,
 * because allowing `$SRV.*` would let `$SRV.>` through as well.
 */
export const SERVICE_SUBJECTS = MICRO_VERBS.flatMap((verb) => [
  `$SRV.${verb}`,
  `$SRV.${verb}.${MICRO_SERVICE}`,
  `$SRV.${verb}.${MICRO_SERVICE}.*`,
]);
const EVENTS = "vqd.events.*.*.*";
const STATES = stateSubject("*", "*");

/** Acknowledgements of a consumer's messages; some newer servers insert domain and account before the stream's name. */
export const acknowledgements = (consumer: string): string[] => [
  `$JS.ACK.${STREAMS.jobs}.${consumer}.>`,
  `$JS.ACK.*.*.${STREAMS.jobs}.${consumer}.>`,
];

export const EXPORTS: Readonly<Record<Exporter, readonly Export[]>> = {
  streams: [
    service(`$JS.API.CONSUMER.INFO.${STREAMS.jobs}.*`),
    service(`$JS.API.CONSUMER.MSG.NEXT.${STREAMS.jobs}.*`),
    ...acknowledgements("*").map(service),
    service(EVENTS),
    service(STATES),
    service(`$JS.API.DIRECT.GET.${STREAMS.state}.${STATES}`),
    service(`$JS.API.DIRECT.GET.${STREAMS.events}.${EVENTS}`),
    service(MODELS_FILTER),
    service("$JS.API.STREAM.INFO.*"),
    service(`$JS.API.DIRECT.GET.${STREAMS.models}.${MODELS_FILTER}`),
    service(`$JS.API.DIRECT.GET.${STREAMS.routes}.${ROUTES_FILTER}`),
    stream(controlSubject("*", "*")),
  ],
  monitor: [...SERVICE_SUBJECTS.map(stream), service(`${INBOX_PREFIX.monitor}.>`)],
};

const use = ({ type, subject }: Export, from: Exporter): Import => ({ type, subject, from });

/** A request to JetStream, under another prefix: in every account, its own leads to the server's "not enabled". */
const api = (request: string): Import => ({
  type: "service",
  subject: `$JS.API.${request}`,
  from: "streams",
  local: `$JS.${API_DOMAIN}.API.${request}`,
});

/** What a worker of these models needs, with the reason for each line. */
export function workerImports(modelKeys: readonly string[]): Import[] {
  return [...modelKeys.flatMap(modelImports), ...MONITORED];
}

function modelImports(key: string): Import[] {
  const queues = PRIORITIES.map((priority) => jobConsumer(key, priority));
  const publish = (subject: string): Import => use(service(subject), "streams");
  return [
    ...queues.flatMap((queue) => [
      api(`CONSUMER.INFO.${STREAMS.jobs}.${queue}`), // does the queue exist, and how long is its lease?
      api(`CONSUMER.MSG.NEXT.${STREAMS.jobs}.${queue}`), // pull jobs
    ]),
    ...queues.flatMap(acknowledgements).map(publish), // done, still working, handed back
    publish(`vqd.events.*.${key}.*`), // what happens to a job
    publish(stateSubject(key, "*")), // the latest tokens, for resuming elsewhere
    api(`DIRECT.GET.${STREAMS.state}.${stateSubject(key, "*")}`), // continue what another worker began
    api(`DIRECT.GET.${STREAMS.events}.vqd.events.*.${key}.*`), // the same, of a job whose events hold its state
    publish(modelSubject(key)), // announce the loaded model
    use(stream(controlSubject(key, "*")), "streams"), // cancellations
  ];
}

/** How workers are asked for their status, and answer. */
export const MONITORED: readonly Import[] = EXPORTS.monitor.map((one) => use(one, "monitor"));

/** Looks and changes nothing: `vqd workers`, `vqd models list`, `vqd doctor`. */
export const MONITOR_IMPORTS: readonly Import[] = [
  api(`CONSUMER.INFO.${STREAMS.jobs}.*`), // how many jobs are queued?
  ...Object.values(STREAMS).map((name) => api(`STREAM.INFO.${name}`)), // do the streams match this release?
  api(`DIRECT.GET.${STREAMS.models}.${MODELS_FILTER}`), // which versions are announced?
  api(`DIRECT.GET.${STREAMS.routes}.${ROUTES_FILTER}`), // which of them serve?
];
