// How long work takes: by the pace of recent predictions or, while there are none, by what a worker has measured of its device.

import type { HubGauges, Labelled } from "../metrics.ts";
import type { QueueStore } from "../storage/queue/queue-store.ts";

/** Seconds until `imageSteps` are done, at the pace of recent predictions and as many of them at once as now; null if unknown. */
export function secondsFor(queue: QueueStore, version: string, imageSteps: number): number | null {
  const running = queue.running(version).count || 1;
  const pace = paceOf(queue, version);
  if (pace === null) return null;
  // As many devices as it takes to run so many at once.
  return (imageSteps * pace.seconds) / Math.max(1, running / pace.slots);
}

/** Seconds for which workers are likely to have so much work; 0 if unknown. */
export const workerSeconds = (queue: QueueStore, version: string, imageSteps: number): number =>
  imageSteps * (paceOf(queue, version)?.seconds ?? 0);

interface PaceOf {
  /** Of a step of an image: as recent predictions had it, or the least that a device has measured. */
  readonly seconds: number;
  /** Images that take that long together: one where it was taken from predictions, which ran beside others. */
  readonly slots: number;
}

/** Null if neither a prediction nor a worker has told. */
function paceOf(queue: QueueStore, version: string): PaceOf | null {
  const recent = queue.secondsPerImageStep(version);
  if (recent !== null) return { seconds: recent, slots: 1 };
  const device = queue.announcedDevice(version);
  const paces = (device?.slotTimes ?? []).flatMap(({ images, ms }) =>
    ms === null ? [] : [ms / images / 1_000],
  );
  return device === undefined || paces.length === 0
    ? null
    : { seconds: Math.min(...paces), slots: device.slots };
}

/** What workers are scaled by: the work that there is, and how long a step of it takes in one slot of a worker. */
export function backlogGauges(
  queue: QueueStore,
): Pick<
  HubGauges,
  "vqd_hub_backlog_predictions" | "vqd_hub_backlog_image_steps" | "vqd_hub_image_step_seconds"
> {
  const backlog = queue.backlog();
  const labelled = (value: "count" | "imageSteps"): Labelled[] =>
    backlog.map(({ model, version, priority, state, ...work }) => ({
      labels: { model, version, priority, state },
      value: work[value],
    }));
  const versions = new Map(backlog.map(({ model, version }) => [version, model]));
  return {
    vqd_hub_backlog_predictions: labelled("count"),
    vqd_hub_backlog_image_steps: labelled("imageSteps"),
    vqd_hub_image_step_seconds: [...versions].flatMap(([version, model]) => {
      const pace = paceOf(queue, version);
      return pace === null ? [] : [{ labels: { model, version }, value: pace.seconds * pace.slots }];
    }),
  };
}
