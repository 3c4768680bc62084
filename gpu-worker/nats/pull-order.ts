// In which order a worker asks its queues: the urgent first, but nobody for ever last.

import { PRIORITIES, type Priority } from "@vqd/shared/subjects.ts";

/** One queue: the jobs of a model and a priority. */
export interface QueueName {
  readonly modelKey: string;
  readonly priority: Priority;
}

/** Of so many pulls one asks the normal queues first, and of the second number one the low ones. */
const NORMAL_TURN = 4;
const LOW_TURN = 16;
/** Pulls after which the next model comes first although the present one still has jobs: loading one is not for free. */
const MODEL_TURN = 8;

/** Priorities for the pull number `turn` >= 0: a low job is asked for first once in sixteen pulls, however many others wait. */
export function priorityOrder(turn: number): Priority[] {
  const first: Priority =
    turn % LOW_TURN === LOW_TURN - 1 ? "low" : turn % NORMAL_TURN === NORMAL_TURN - 1 ? "normal" : "high";
  return [first, ...PRIORITIES.filter((priority) => priority !== first)];
}

/**
 * Queues in the order to ask them for pull number `turn` >= 0. Priority goes before model; among models, those that
 * `isLoaded` says are at hand come first, except that every eighth pull begins with the next one of the list.
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
