// Who may do what on NATS: deny by default, each line says why it is there.

import { INBOX_PREFIX, STREAMS, STREAM_SUBJECTS } from "@vqd/shared/subjects.ts";

export interface Permissions {
  publish: { allow: string[] };
  subscribe: { allow: string[] };
  /** Lets a subscriber answer the requests it gets, without publish rights on reply subjects. */
  allow_responses?: { max: number; expires: string };
}

const { jobs, events, state, models } = STREAMS;
const CONTROL_SUBJECTS = "vqd.control.*";

/** Acknowledgements of a stream's messages; servers from 2.15 on put domain and account before its name. */
const acks = (stream: string): string[] => [`$JS.ACK.${stream}.>`, `$JS.ACK.*.*.${stream}.>`];

/** Reading a stream by a consumer of one's own. */
const follow = (stream: string): string[] => [
  `$JS.API.CONSUMER.CREATE.${stream}.>`,
  `$JS.API.CONSUMER.INFO.${stream}.>`,
  `$JS.API.CONSUMER.DELETE.${stream}.>`,
  `$JS.API.CONSUMER.MSG.NEXT.${stream}.>`, // pull
  ...acks(stream),
];

const EDGE: Permissions = {
  publish: {
    allow: [
      STREAM_SUBJECTS.jobs, // dispatch
      CONTROL_SUBJECTS, // cancel a running job
      `$JS.API.STREAM.MSG.DELETE.${jobs}`, // take a waiting job out of the queue: cancelled or past its deadline
      `$JS.API.STREAM.INFO.${jobs}`, // queue length
      `$JS.API.STREAM.INFO.${events}`, // is the stored sequence still in the stream?
      `$JS.API.STREAM.INFO.${models}`,
      ...follow(events), // what happens in a hub's shard
      ...follow(models), // which models there are
      `$JS.API.DIRECT.GET.${models}.>`, // look one model up
      "$JS.FC.>", // flow control of push consumers
    ],
  },
  subscribe: {
    allow: [
      `${INBOX_PREFIX.edge}.>`, // replies, and what its consumers deliver
      STREAM_SUBJECTS.models, // hear of new models at once
    ],
  },
};

const WORKER: Permissions = {
  publish: {
    allow: [
      `$JS.API.STREAM.INFO.${jobs}`, // the client looks a consumer's stream up
      `$JS.API.CONSUMER.CREATE.${jobs}.>`, // the durable consumer that the workers of a model share
      `$JS.API.CONSUMER.DURABLE.CREATE.${jobs}.>`, // the same on servers and clients before 2.9
      `$JS.API.CONSUMER.INFO.${jobs}.>`,
      `$JS.API.CONSUMER.MSG.NEXT.${jobs}.>`, // pull jobs
      ...acks(jobs), // done, still working, hand back
      STREAM_SUBJECTS.events, // what happens to a job
      STREAM_SUBJECTS.state, // the newest tokens, for resuming elsewhere
      `$JS.API.DIRECT.GET.${state}.>`, // resume what another worker began
      STREAM_SUBJECTS.models, // announce the loaded model
    ],
  },
  subscribe: {
    allow: [
      `${INBOX_PREFIX.worker}.>`, // replies and pulled jobs
      CONTROL_SUBJECTS, // cancellations
    ],
  },
  allow_responses: { max: 1, expires: "1m" }, // confirm a cancellation
};

/** Set-up only: makes and updates the streams. No running part of the system has these credentials. */
const OPERATOR: Permissions = {
  publish: { allow: ["$JS.API.>"] },
  subscribe: { allow: ["_INBOX_operator.>"] },
};

export const USERS = { edge: EDGE, worker: WORKER, operator: OPERATOR } as const;
export type UserName = keyof typeof USERS;
