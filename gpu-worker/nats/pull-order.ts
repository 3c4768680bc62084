// The order in which a worker asks its queues: urgent ones first, but without starving the others.

import { PRIORITIES, type Priority } from "@vqd/shared/subjects.ts";

/** One queue: the jobs of one model and priority. */
export interface QueueName {
  readonly modelKey: string;
  readonly priority: Priority;
}

/** One pull in this many starts with the normal queues, and one in the second number with the low ones. */
const NORMAL_TURN = 4;
const LOW_TURN = 16;
/** Pulls after which the next model comes first even if the current one still has jobs. Loading a model is not free. */
const MODEL_TURN = 8;

/** Priorities for pull number `turn` >= 0: one pull in sixteen asks for low-priority jobs first, however many others wait. */
export function priorityOrder(turn: number): Priority[] {
  const first: Priority =
    turn % LOW_TURN === LOW_TURN - 1 ? "low" : turn % NORMAL_TURN === NORMAL_TURN - 1 ? "normal" : "high";
  return [first, ...PRIORITIES.filter((priority) => priority !== first)];
}

/**
 * Queues in the order to ask them for pull number `turn` >= 0. Priority takes precedence over model; among models,
 * those that are loaded come first, except that every eighth pull starts with the next model of the list.
 */
export function pullOrder(
  modelKeys: readonly string[],
  turn: number,
  isLoaded: (modelKey: string) => boolean = () => true,
): QueueName[] {
  const start = Math.floor(turn / MODEL_TURN) % Math.max(1, modelKeys.length);
  const rotated = [...modelKeys.slice(start), ...modelKeys.slice(0, start)];
  const isModelTurn = turn % MODEL_TURN === 0;
  const models = isModelTurn
    ? rotated
    : [...rotated.filter(isLoaded), ...rotated.filter((key) => !isLoaded(key))];
  return priorityOrder(turn).flatMap((priority) => models.map((modelKey) => ({ modelKey, priority })));
}
