// The versions of models: which are announced, what share of the requests they get, and which jobs wait or run.

import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager } from "@nats-io/jetstream";
import { decodeManifest } from "@vqd/shared/codec.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { type ModelRoute, shareOf } from "@vqd/shared/routing/route.ts";
import { jobConsumer, modelSubject, PRIORITIES, STREAMS } from "@vqd/shared/subjects.ts";
import { decoded, missingStream } from "./routes.ts";

export interface Version {
  /** `owner/name` */
  readonly name: string;
  /** 64 hexadecimal digits. */
  readonly version: string;
}

export interface AnnouncedVersion extends Version {
  /** When a worker last announced it, by the broker's clock. */
  readonly announcedAt: Date;
}

/** Jobs in the queues of a version; what hubs hold back until it is their turn is not among them. */
export interface QueuedJobs {
  readonly waiting: number;
  readonly running: number;
}

export interface VersionStatus extends Version {
  /** Part of the requests for its name, from 0 to 1. */
  readonly share: number;
  readonly retired: boolean;
  readonly announcedAt: Date | null;
  /** Null if the version has no queues. */
  readonly jobs: QueuedJobs | null;
}

/** The versions in the stream of manifests; those that this release cannot read are left out. */
export async function announcedVersions(jsm: JetStreamManager): Promise<AnnouncedVersion[]> {
  const found: AnnouncedVersion[] = [];
  for (const message of await latestOfEach(jsm, STREAMS.models)) {
    try {
      const { name, version } = decodeManifest(message.data).value;
      if (message.subject === modelSubject(modelKey({ name, version })))
        found.push({ name, version, announcedAt: message.time });
    } catch {
      // Of another release, or none.
    }
  }
  return found;
}

async function routes(jsm: JetStreamManager): Promise<ModelRoute[]> {
  const messages = await latestOfEach(jsm, STREAMS.routes).catch((error: unknown) => {
    throw missingStream(error);
  });
  return messages.map(({ data }) => decoded(data)).filter((route) => route !== undefined);
}

async function latestOfEach(jsm: JetStreamManager, stream: string) {
  const info = await jsm.streams.info(stream, { subjects_filter: ">" });
  const subjects = Object.keys(info.state.subjects ?? {}).toSorted();
  const messages = await Promise.all(
    subjects.map((subject) => jsm.direct.getMessage(stream, { last_by_subj: subject })),
  );
  return messages.filter((message) => message !== null);
}

/** Null if the version has no queues. */
export async function queuedJobs(jsm: JetStreamManager, version: Version): Promise<QueuedJobs | null> {
  const key = modelKey(version);
  const infos = await Promise.all(
    PRIORITIES.map((priority) =>
      jsm.consumers.info(STREAMS.jobs, jobConsumer(key, priority)).catch((error: unknown) => {
        if (error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound)
          return null;
        throw error;
      }),
    ),
  );
  const known = infos.filter((info) => info !== null);
  if (known.length === 0) return null;
  return {
    waiting: known.reduce((sum, info) => sum + info.num_pending, 0),
    running: known.reduce((sum, info) => sum + info.num_ack_pending, 0),
  };
}

/** All versions that are announced or in a route, by name; of a name the largest share first, then the newest. */
export async function listVersions(jsm: JetStreamManager): Promise<VersionStatus[]> {
  const [announced, routed] = await Promise.all([announcedVersions(jsm), routes(jsm)]);
  const all = new Map<string, Version & { announcedAt: Date | null }>();
  for (const one of announced) all.set(`${one.name}:${one.version}`, one);
  for (const { name, shares, retired } of routed) {
    for (const version of [...shares.map((share) => share.version), ...retired]) {
      const key = `${name}:${version}`;
      if (!all.has(key)) all.set(key, { name, version, announcedAt: null });
    }
  }
  const listed = await Promise.all(
    [...all.values()].map(async ({ name, version, announcedAt }): Promise<VersionStatus> => {
      const route = routed.find((one) => one.name === name);
      return {
        name,
        version,
        share: route === undefined ? 0 : shareOf(route, version),
        retired: route?.retired.includes(version) ?? false,
        announcedAt,
        jobs: await queuedJobs(jsm, { name, version }),
      };
    }),
  );
  const time = ({ announcedAt }: VersionStatus): number => announcedAt?.getTime() ?? 0;
  return listed.toSorted((a, b) => a.name.localeCompare(b.name) || b.share - a.share || time(b) - time(a));
}

/** Removes the version's queues, with all jobs that wait in them, and its manifest. Safe to repeat. */
export async function removeVersion(jsm: JetStreamManager, version: Version): Promise<void> {
  const key = modelKey(version);
  for (const priority of PRIORITIES) {
    await jsm.consumers.delete(STREAMS.jobs, jobConsumer(key, priority)).catch((error: unknown) => {
      if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.ConsumerNotFound))
        throw error;
    });
  }
  await jsm.streams.purge(STREAMS.models, { filter: modelSubject(key) });
}
