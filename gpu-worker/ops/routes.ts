// Operators decide which versions of a model serve its name: reading and writing its route.

import { JetStreamApiCodes, JetStreamApiError, type JetStreamManager } from "@nats-io/jetstream";
import { headers } from "nats";
import { decodeRoute, encodeRoute } from "@vqd/shared/codec.ts";
import { MESSAGE_HEADERS } from "@vqd/shared/headers.ts";
import { SEQUENCE_CONFLICTS } from "@vqd/shared/nats/jetstream-codes.ts";
import { MAX_RETIRED, type ModelRoute, type Share } from "@vqd/shared/routing/route.ts";
import { routeSubject, STREAMS } from "@vqd/shared/subjects.ts";

/** Somebody else has written the route since it was read. */
export class RouteConflict extends Error {
  override readonly name = "RouteConflict";
}

export interface StoredRoute {
  readonly name: string;
  /** Undefined if the name has none, or one that this release cannot read. */
  readonly route: ModelRoute | undefined;
  /** Of the message, in the stream; 0 for none. */
  readonly sequence: number;
}

/** A name's route, from the stream's leader. Throws an Error that says what to do if there is no stream. */
export async function readRoute(jsm: JetStreamManager, name: string): Promise<StoredRoute> {
  const message = await jsm.streams
    .getMessage(STREAMS.routes, { last_by_subj: routeSubject(name) })
    .catch((error: unknown) => {
      throw missingStream(error);
    });
  if (message === null) return { name, route: undefined, sequence: 0 };
  return { name, route: decoded(message.data), sequence: message.seq };
}

/** Undefined for what is no route, so that an operator can write a new one. */
export function decoded(data: Uint8Array): ModelRoute | undefined {
  try {
    return decodeRoute(data);
  } catch {
    return undefined;
  }
}

/** The error, or one that says which command creates the stream. */
export function missingStream(error: unknown): unknown {
  if (!(error instanceof JetStreamApiError && error.code === JetStreamApiCodes.StreamNotFound)) return error;
  return new Error(`${STREAMS.routes} does not exist: vqd streams apply creates it`, { cause: error });
}

/**
 * Writes a route in place of the one that was read. `by` is kept with it. Throws a RouteConflict if the one that was read is no longer
 * the latest.
 */
export async function writeRoute(
  jsm: JetStreamManager,
  { name, sequence }: StoredRoute,
  route: ModelRoute,
  by: string,
): Promise<void> {
  const carried = headers();
  carried.set(MESSAGE_HEADERS.by, encodeURIComponent(by));
  try {
    await jsm.jetstream().publish(routeSubject(name), encodeRoute(route), {
      headers: carried,
      expect: { lastSubjectSequence: sequence },
    });
  } catch (cause) {
    if (!(cause instanceof JetStreamApiError && SEQUENCE_CONFLICTS.has(cause.code))) throw cause;
    const message = `the route of ${name} has been changed meanwhile: look at it again, and repeat the command`;
    throw new RouteConflict(message, { cause });
  }
}

export interface Decision {
  /** By the broker's clock. */
  readonly at: Date;
  /** Null for the first route, which the service writes, and for those of releases that did not say. */
  readonly by: string | null;
  /** Undefined for one that this release cannot read. */
  readonly route: ModelRoute | undefined;
}

/** What was decided of a name, oldest first, as far as it is kept. Needs the operator's credentials. */
export async function decisionsOf(jsm: JetStreamManager, name: string): Promise<Decision[]> {
  const decisions: Decision[] = [];
  for (let seq = 1; ;) {
    const message = await jsm.direct
      .getMessage(STREAMS.routes, { seq, next_by_subj: routeSubject(name) })
      .catch((error: unknown) => {
        throw missingStream(error);
      });
    if (message === null) return decisions;
    const by = message.header.get(MESSAGE_HEADERS.by);
    decisions.push({
      at: message.time,
      by: by === "" ? null : decodeURIComponent(by),
      route: decoded(message.data),
    });
    seq = message.seq + 1;
  }
}

/** The route by which these versions share the name's requests; those that were retired no longer are. */
export function withShares({ name, route }: StoredRoute, shares: readonly Share[]): ModelRoute {
  const given = new Set(shares.map(({ version }) => version));
  const retired = (route?.retired ?? []).filter((version) => !given.has(version));
  return { v: 1, name, shares: [...shares], retired };
}

/** The route without the version for good. With very many, the one that was retired first is forgotten. */
export function withoutVersion(route: ModelRoute, version: string): ModelRoute {
  const others = route.retired.filter((one) => one !== version);
  return { ...route, retired: [...others, version].slice(-MAX_RETIRED) };
}

/** Whether the version gets all requests of its name already. */
export const servesAlone = (route: ModelRoute | undefined, version: string): boolean =>
  route?.shares.length === 1 && route.shares[0]?.version === version;
