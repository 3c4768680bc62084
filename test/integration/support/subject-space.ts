// Every subject that a NATS user could try: JetStream's whole API, vqd's subjects, services, inboxes, the server's own. And,
// for each role, what it needs of them.

import { type NatsConnection, PermissionViolationError } from "nats";
import {
  API_DOMAIN,
  controlSubject,
  eventSubject,
  jobConsumer,
  jobSubject,
  modelSubject,
  routeSubject,
  stateSubject,
  STREAMS,
  UNSCOPED,
} from "@vqd/shared/subjects.ts";

const ID = "00".padEnd(26, "0");
/** Of a model that no credentials here may serve. */
const FOREIGN_KEY = "vqd--foreign--0123456789ab";
/** Of models; the first is the one that workers may serve. */
const NAMES = ["vqd/checkpoint", "vqd/foreign"];
const INBOXES = ["", "_edge", "_worker", "_monitor", "_operator"];

const STREAM_VERBS = [
  "CREATE",
  "UPDATE",
  "INFO",
  "DELETE",
  "PURGE",
  "SNAPSHOT",
  "RESTORE",
  "MSG.GET",
  "MSG.DELETE",
  "PEER.REMOVE",
  "LEADER.STEPDOWN",
];

/** Subjects to publish to and to subscribe to, for users of whom some may serve the model `own`. */
export function subjectSpace(own: string): { publish: string[]; subscribe: string[] } {
  const keys = [own, FOREIGN_KEY];
  const streams = [...Object.values(STREAMS), "OTHER"];
  const consumers = [
    ...keys.flatMap((key) => (["high", "normal", "low"] as const).map((one) => jobConsumer(key, one))),
    "c",
  ];
  const stored = [
    ...keys.flatMap((key) => [stateSubject(key, ID), stateSubject(key, "*"), modelSubject(key)]),
    ...keys.map((key) => eventSubject(0, key, ID)),
    "vqd.events.>",
    "vqd.state.*.*",
    "vqd.state.>",
    "vqd.state.*",
    "vqd.models.*",
    ...NAMES.map(routeSubject),
    "vqd.routes.*",
    ">",
    UNSCOPED.stateSubject(ID),
  ];
  const verbs = [
    "INFO",
    "STREAM.NAMES",
    "STREAM.LIST",
    ...["NAMES", "CREATE.t", "INFO.t", "DELETE.t"].map((verb) => `TEMPLATE.${verb}`),
    "META.LEADER.STEPDOWN",
    "SERVER.REMOVE",
    "ACCOUNT.PURGE.a",
    "ACCOUNT.STREAM.MOVE.a.s",
    ...streams.flatMap((stream) => STREAM_VERBS.map((verb) => `STREAM.${verb}.${stream}`)),
    ...streams.flatMap((stream) => [
      `DIRECT.GET.${stream}`,
      ...stored.map((subject) => `DIRECT.GET.${stream}.${subject}`),
      `CONSUMER.CREATE.${stream}`,
      `CONSUMER.NAMES.${stream}`,
      `CONSUMER.LIST.${stream}`,
      ...consumers.flatMap((consumer) => [
        `CONSUMER.CREATE.${stream}.${consumer}`,
        ...keys.map((key) => `CONSUMER.CREATE.${stream}.${consumer}.${jobSubject(key, "normal")}`),
        `CONSUMER.CREATE.${stream}.${consumer}.vqd.events.0.>`,
        `CONSUMER.DURABLE.CREATE.${stream}.${consumer}`,
        ...["INFO", "DELETE", "MSG.NEXT", "LEADER.STEPDOWN", "PAUSE", "UNPIN", "RESET"].map(
          (verb) => `CONSUMER.${verb}.${stream}.${consumer}`,
        ),
      ]),
    ]),
  ];
  const ours = [
    ...keys.flatMap((key) => [
      jobSubject(key, "normal"),
      eventSubject(0, key, ID),
      stateSubject(key, ID),
      modelSubject(key),
      controlSubject(key, ID),
    ]),
    ...NAMES.map(routeSubject),
    "vqd.routes.too.many",
    UNSCOPED.eventSubject(0, ID),
    UNSCOPED.stateSubject(ID),
    UNSCOPED.controlSubject(ID),
    "vqd.jobs.too.many.tokens",
    "vqd.events.0.too.many.tokens",
    "vqd.other",
    "other",
  ];
  const services = ["PING", "INFO", "STATS", "SCHEMA"].flatMap((verb) =>
    ["", ".vqd-worker", ".vqd-worker.id", ".other"].map((whose) => `$SRV.${verb}${whose}`),
  );
  const rest = [
    ...INBOXES.map((role) => `_INBOX${role}.x`),
    "$SYS.REQ.SERVER.PING",
    "$SYS.REQ.ACCOUNT.PING.CONNZ",
    "$SYS.REQ.USER.INFO",
    "$SYS.REQ.CLAIMS.UPDATE",
    "$SYS.ACCOUNT.a.CONNECT",
    "$JS.EVENT.ADVISORY.x",
    "$JS.SNAPSHOT.ACK.VQD_JOBS.x",
    "$JSC.R.x",
    "$NRG.P.x",
    "$KV.VQD_STATE.x",
    "$MQTT.JSA.x",
    "$LDS.x",
  ];
  const acknowledging = streams.flatMap((stream) =>
    consumers.flatMap((consumer) => [
      `$JS.ACK.${stream}.${consumer}.1.1.1.1.0`,
      `$JS.ACK.d.a.${stream}.${consumer}.1.1.1.1.0`,
      `$JS.FC.${stream}.${consumer}.x`,
      `$JS.FC.d.a.${stream}.${consumer}.x`,
    ]),
  );
  const wildcards = [
    ...">,*,*.>,vqd.>,vqd.*.>,vqd.jobs.*.*,vqd.events.*.*,vqd.events.>,vqd.state.*,vqd.state.>".split(","),
    ..."vqd.models.*,vqd.routes.*,vqd.routes.>,vqd.control.*,vqd.control.*.*,vqd.control.>,$JS.>,$JS.API.>,$JS.ACK.>,$SYS.>,$SRV.>".split(
      ",",
    ),
    ...keys.map((key) => controlSubject(key, "*")),
    ...INBOXES.map((role) => `_INBOX${role}.>`),
  ];
  return {
    publish: [
      ...["API", `${API_DOMAIN}.API`].flatMap((prefix) => verbs.map((verb) => `$JS.${prefix}.${verb}`)),
      ...ours,
      ...services,
      ...rest,
      ...acknowledging,
    ],
    subscribe: [...ours, ...services, ...rest, ...wildcards],
  };
}

const literal = (subject: string): string => subject.replaceAll(/[$.]/g, String.raw`\$&`);
const SERVICE = /^\$SRV\.(PING|INFO|STATS)(\.vqd-worker(\.id)?)?$/;

/** What each role needs, written down from what the two halves do, and not taken from the permissions that are tried. */
export function neededSubjects(own: string) {
  const key = literal(own);
  const vqdApi = String.raw`\$JS\.vqd\.API`;
  const queue = `workers-${key}(--high|--low)?`;
  const worker = {
    publish: [
      new RegExp(String.raw`^vqd\.events\.0\.${key}\.0+$`),
      new RegExp(String.raw`^vqd\.state\.${key}\.0+$`),
      new RegExp(String.raw`^vqd\.models\.${key}$`),
      new RegExp(String.raw`^${vqdApi}\.CONSUMER\.(INFO|MSG\.NEXT)\.VQD_JOBS\.${queue}$`),
      new RegExp(String.raw`^\$JS\.ACK\.(d\.a\.)?VQD_JOBS\.${queue}\.`),
      new RegExp(String.raw`^${vqdApi}\.DIRECT\.GET\.VQD_STATE\.vqd\.state\.${key}\.(0+|\*)$`),
      new RegExp(String.raw`^${vqdApi}\.DIRECT\.GET\.VQD_EVENTS\.vqd\.events\.0\.${key}\.0+$`),
    ],
    subscribe: [/^_INBOX_worker\./, new RegExp(String.raw`^vqd\.control\.${key}\.(0+|\*)$`), SERVICE],
  };
  return {
    edge: {
      publish: [
        /^vqd\.jobs\.[^.]+\.normal$/,
        /^vqd\.control\.([^.]+\.)?0+$/,
        /^\$JS\.API\.STREAM\.MSG\.DELETE\.VQD_JOBS$/,
        /^\$JS\.API\.CONSUMER\.INFO\.VQD_JOBS\.[^.]+$/,
        /^\$JS\.API\.STREAM\.INFO\.VQD_(EVENTS|MODELS|ROUTES)$/,
        /^\$JS\.API\.CONSUMER\.(CREATE|DELETE)\.VQD_EVENTS\..+$/,
        /^\$JS\.FC\.(d\.a\.)?VQD_EVENTS\./,
        /^\$JS\.API\.DIRECT\.GET\.VQD_MODELS\.vqd\.models\.[^.]+$/,
        /^\$JS\.API\.DIRECT\.GET\.VQD_ROUTES\.vqd\.routes\.[^.]+$/,
        /^vqd\.routes\.[^.]+$/,
      ],
      subscribe: [/^_INBOX_edge\./, /^vqd\.(models|routes)\.[^.]+$/],
    },
    worker,
    leaf: {
      publish: [...worker.publish, /^_INBOX_monitor\./],
      subscribe: worker.subscribe,
    },
    monitor: {
      publish: [
        SERVICE,
        new RegExp(String.raw`^${vqdApi}\.CONSUMER\.INFO\.VQD_JOBS\.`),
        new RegExp(String.raw`^${vqdApi}\.STREAM\.INFO\.VQD_(JOBS|EVENTS|STATE|MODELS|ROUTES)$`),
        new RegExp(String.raw`^${vqdApi}\.DIRECT\.GET\.VQD_MODELS\.vqd\.models\.[^.]+$`),
        new RegExp(String.raw`^${vqdApi}\.DIRECT\.GET\.VQD_ROUTES\.vqd\.routes\.[^.]+$`),
      ],
      subscribe: [/^_INBOX_monitor\./],
    },
    operator: {
      publish: [/^\$JS\.API\./, /^vqd\.routes\.[^.]+$/],
      subscribe: [/^_INBOX_operator\./],
    },
  } as const;
}

export const matching = (tried: readonly string[], patterns: readonly RegExp[]): string[] =>
  tried.filter((subject) => patterns.some((pattern) => pattern.test(subject)));

/** What the server lets a user do, of all that is tried. Closes the connection. */
export async function allowedSubjects(
  connection: NatsConnection,
  kind: "publish" | "subscribe",
  tried: readonly string[],
): Promise<string[]> {
  const refused = new Set<string>();
  const reading = (async () => {
    for await (const status of connection.status()) {
      if (status.type === "error" && status.error instanceof PermissionViolationError) {
        refused.add(status.error.subject);
      }
    }
  })();
  for (const subject of tried) {
    if (kind === "publish") connection.publish(subject);
    else connection.subscribe(subject, { callback: () => {} });
  }
  // The server answers in order: its complaints come before the answer to this.
  await connection.flush();
  await connection.close();
  await reading;
  return tried.filter((subject) => !refused.has(subject));
}
