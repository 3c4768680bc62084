// Where the messages of a job go: under the key of its model, or as in 0.1.0, whose credentials named no model.

import type { MsgHdrs } from "nats";
import { BATCHES, MESSAGE_HEADERS, SCOPED } from "@vqd/shared/headers.ts";
import type { Job } from "@vqd/shared/job.ts";
import { controlSubject, eventSubject, stateSubject, UNSCOPED } from "@vqd/shared/subjects.ts";

export interface JobSubjects {
  readonly event: string;
  /** Whether its hub reads batches, and this worker may read the last one. */
  readonly isBatched: boolean;
  /** Where a state may be, in order of preference; a new one goes to the first. */
  readonly states: readonly [string, ...string[]];
  /** Where a cancellation may arrive. */
  readonly controls: readonly string[];
}

/**
 * `isScoped` is false for credentials of 0.1.0. They may do both, so that workers of both releases continue each other's
 * jobs, and hubs of 0.1.0, which do not send the header, receive their events.
 */
export function jobSubjects(
  { id, shard }: Pick<Job, "id" | "shard">,
  modelKey: string,
  {
    isScoped,
    readsEvents,
    headers,
  }: { isScoped: boolean; readsEvents: boolean; headers: MsgHdrs | undefined },
): JobSubjects {
  const event = eventSubject(shard, modelKey, id);
  const state = stateSubject(modelKey, id);
  const control = controlSubject(modelKey, id);
  const isBatched = readsEvents && headers?.get(MESSAGE_HEADERS.events) === BATCHES;
  if (isScoped) return { event, isBatched, states: [state], controls: [control] };
  const before = { state: UNSCOPED.stateSubject(id), control: UNSCOPED.controlSubject(id) };
  if (headers?.get(MESSAGE_HEADERS.subjects) === SCOPED) {
    return { event, isBatched: false, states: [state, before.state], controls: [control, before.control] };
  }
  return {
    event: UNSCOPED.eventSubject(shard, id),
    isBatched: false,
    states: [before.state],
    controls: [before.control],
  };
}
