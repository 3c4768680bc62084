// NATS permissions of each role: deny by default, with the reason for each line. Accounts (accounts.ts) are the outer wall.

import {
  INBOX_PREFIX,
  MODELS_FILTER,
  ROUTES_FILTER,
  STREAM_SUBJECTS,
  STREAMS,
} from "@vqd/shared/subjects.ts";
import {
  acknowledgements,
  type Import,
  MONITOR_IMPORTS,
  SERVICE_SUBJECTS,
  workerImports,
} from "./accounts.ts";

export interface Permissions {
  publish: { allow: string[] };
  subscribe: { allow: string[] };
  /** Lets a subscriber answer the requests it gets, without publish permissions for reply subjects. */
  allow_responses?: { max: number; expires: string };
}

const { jobs, events, state, models, routes } = STREAMS;

export const EDGE: Permissions = {
  publish: {
    allow: [
      ...STREAM_SUBJECTS.jobs, // dispatch
      "vqd.control.*.*", // cancel a running job, or ask for it
      "vqd.control.*", // the same, of a worker of 0.1.0
      `$JS.API.STREAM.MSG.DELETE.${jobs}`, // take a waiting job out of the queue: canceled or past its deadline
      `$JS.API.CONSUMER.INFO.${jobs}.*`, // does a worker wait at this queue?
      `$JS.API.STREAM.INFO.${events}`, // is the stored sequence still in the stream?
      `$JS.API.CONSUMER.CREATE.${events}.>`, // follow the shard's events
      `$JS.API.CONSUMER.DELETE.${events}.>`, // stop following them
      `$JS.FC.${events}.>`, // flow control of that consumer
      `$JS.FC.*.*.${events}.>`, // the same, where servers insert domain and account
      `$JS.API.STREAM.INFO.${models}`, // list the announced models
      `$JS.API.DIRECT.GET.${models}.${MODELS_FILTER}`, // read their manifests
      `$JS.API.STREAM.INFO.${routes}`, // list the routes of model names
      `$JS.API.DIRECT.GET.${routes}.${ROUTES_FILTER}`, // read them
      // The first route of a new name. It writes no other, but could: it decides about each request anyway.
      ROUTES_FILTER,
    ],
  },
  subscribe: {
    allow: [
      `${INBOX_PREFIX.edge}.>`, // replies and events
      MODELS_FILTER, // learn of new models immediately
      ROUTES_FILTER, // and of what an operator decides
    ],
  },
};

const respond = { max: 1, expires: "1m" };

/** Publishes to what its account imports as a service, and receives what it imports as a stream. */
function usePermissions(imports: readonly Import[], inbox: string): Permissions {
  const locals = (type: Import["type"]): string[] =>
    imports.filter((one) => one.type === type).map(({ local, subject }) => local ?? subject);
  return {
    publish: { allow: locals("service").filter((subject) => !subject.startsWith("_INBOX")) },
    subscribe: { allow: [`${inbox}.>`, ...locals("stream")] },
  };
}

export const workerPermissions = (modelKeys: readonly string[]): Permissions => ({
  ...usePermissions(workerImports(modelKeys), INBOX_PREFIX.worker),
  allow_responses: respond, // report its status
});

/** A leaf node passes on what workers at its site send and receive, answers to monitors included. */
export function leafPermissions(modelKeys: readonly string[]): Permissions {
  const { publish, subscribe } = workerPermissions(modelKeys);
  return { publish: { allow: [...publish.allow, `${INBOX_PREFIX.monitor}.>`] }, subscribe };
}

/** Creates and updates streams and queues, and decides which versions serve. No running part of the system has these credentials. */
export const OPERATOR: Permissions = {
  publish: { allow: ["$JS.API.>", ROUTES_FILTER] },
  subscribe: { allow: [`${INBOX_PREFIX.operator}.>`] },
};

export const MONITOR: Permissions = {
  publish: { allow: [...usePermissions(MONITOR_IMPORTS, "").publish.allow, ...SERVICE_SUBJECTS] },
  subscribe: { allow: [`${INBOX_PREFIX.monitor}.>`] },
};

/** Workers of 0.1.0, for any model: users of the account of the streams, until their credentials are retired. */
export const UNSCOPED_WORKER: Permissions = {
  publish: {
    allow: [
      `$JS.API.CONSUMER.CREATE.${jobs}.>`, // those workers create the queues of their models
      `$JS.API.CONSUMER.INFO.${jobs}.>`,
      `$JS.API.CONSUMER.MSG.NEXT.${jobs}.>`,
      ...acknowledgements("*"),
      ...STREAM_SUBJECTS.events,
      ...STREAM_SUBJECTS.state,
      `$JS.API.DIRECT.GET.${state}.>`,
      MODELS_FILTER,
    ],
  },
  subscribe: { allow: [`${INBOX_PREFIX.worker}.>`, "vqd.control.*", "vqd.control.*.*", ...SERVICE_SUBJECTS] },
  allow_responses: respond,
};
