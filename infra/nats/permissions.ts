// Who may do what on NATS: denied by default; each line says why it is there.

import { MICRO_SERVICE, MICRO_VERBS } from "@vqd/shared/micro.ts";
import { INBOX_PREFIX, STREAMS, STREAM_SUBJECTS } from "@vqd/shared/subjects.ts";

export interface Permissions {
  publish: { allow: string[] };
  subscribe: { allow: string[] };
  /** Lets a subscriber reply to requests without publish permission on reply subjects. */
  allow_responses?: { max: number; expires: string };
}

const { jobs, events, state, models } = STREAMS;
const CONTROL_SUBJECTS = "vqd.control.*";

/**
 * What a micro service (NATS ADR-32) receives: requests to all services, to its kind, and to itself. Listed by verb,
 * because where `$SRV.*` is allowed, the server lets `$SRV.>` through as well.
 */
const SERVICE_SUBJECTS = MICRO_VERBS.flatMap((verb) => [
  `$SRV.${verb}`,
  `$SRV.${verb}.${MICRO_SERVICE}`,
  `$SRV.${verb}.${MICRO_SERVICE}.*`,
]);

/** What a client sends to a consumer; newer servers may insert domain and account before the stream's name. */
const toConsumer = (kind: "ACK" | "FC", stream: string): string[] => [
  `$JS.${kind}.${stream}.>`,
  `$JS.${kind}.*.*.${stream}.>`,
];

const EDGE: Permissions = {
  publish: {
    allow: [
      STREAM_SUBJECTS.jobs, // dispatch
      CONTROL_SUBJECTS, // cancel a running job
      `$JS.API.STREAM.MSG.DELETE.${jobs}`, // take a waiting job out of the queue: cancelled or past its deadline
      `$JS.API.STREAM.INFO.${events}`, // is the stored sequence still in the stream?
      `$JS.API.CONSUMER.CREATE.${events}.>`, // follow the shard's events
      `$JS.API.CONSUMER.DELETE.${events}.>`, // no longer follow them
      ...toConsumer("FC", events), // flow control of that consumer
      `$JS.API.STREAM.INFO.${models}`, // list the announced models
      `$JS.API.DIRECT.GET.${models}.>`, // read their manifests
    ],
  },
  subscribe: {
    allow: [
      `${INBOX_PREFIX.edge}.>`, // replies and events
      STREAM_SUBJECTS.models, // learn of new models immediately
    ],
  },
};

const WORKER: Permissions = {
  publish: {
    allow: [
      `$JS.API.CONSUMER.CREATE.${jobs}.>`, // the durable consumer that the workers of a model share
      `$JS.API.CONSUMER.INFO.${jobs}.>`, // does it exist already?
      `$JS.API.CONSUMER.MSG.NEXT.${jobs}.>`, // pull jobs
      ...toConsumer("ACK", jobs), // done, still working, handed back
      STREAM_SUBJECTS.events, // what happens to a job
      STREAM_SUBJECTS.state, // the latest tokens, for resuming elsewhere
      `$JS.API.DIRECT.GET.${state}.>`, // resume what another worker began
      STREAM_SUBJECTS.models, // announce the loaded model
    ],
  },
  subscribe: {
    allow: [
      `${INBOX_PREFIX.worker}.>`, // replies and pulled jobs
      CONTROL_SUBJECTS, // cancellations
      ...SERVICE_SUBJECTS, // requests for its statistics
    ],
  },
  allow_responses: { max: 1, expires: "1m" }, // confirm a cancellation, report statistics
};

/** Set-up only: creates and updates the streams. No running part of the system has these credentials. */
const OPERATOR: Permissions = {
  publish: { allow: ["$JS.API.>"] },
  subscribe: { allow: [`${INBOX_PREFIX.operator}.>`] },
};

/** Read-only: `vqd workers`, `vqd doctor`. */
const MONITOR: Permissions = {
  publish: {
    allow: [
      ...SERVICE_SUBJECTS, // which workers are live, and how are they?
      `$JS.API.CONSUMER.INFO.${jobs}.>`, // how many jobs wait?
      ...Object.values(STREAMS).map((stream) => `$JS.API.STREAM.INFO.${stream}`), // are the streams up to date?
    ],
  },
  subscribe: { allow: [`${INBOX_PREFIX.monitor}.>`] },
};

export const USERS = { edge: EDGE, worker: WORKER, monitor: MONITOR, operator: OPERATOR } as const;
export type UserName = keyof typeof USERS;
