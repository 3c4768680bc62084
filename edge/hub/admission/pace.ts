// How long work takes: by the pace of recent predictions or, while there are none, by what a worker has measured of its device.

import type { DeviceManifest } from "@vqd/shared/model.ts";
import type { HubGauges, Labelled } from "../metrics.ts";
import type { QueueStore } from "../storage/queue/queue-store.ts";

/** Seconds until `imageSteps` are done, at the pace of recent predictions and as many of them at once as now; null if unknown. */
export function secondsFor(queue: QueueStore, version: string, imageSteps: number): number | null {
  const running = queue.running(version).count || 1;
  const pace = queue.secondsPerImageStep(version);
  if (pace !== null) return (imageSteps * pace) / running;
  const device = queue.announcedDevice(version);
  const measured = device === undefined ? null : fullPace(device);
  if (device === undefined || measured === null) return null;
  // As many devices as it takes to run so many at once.
  return (imageSteps * measured) / Math.max(1, running / device.slots);
}

/** Seconds for which workers are likely to have so much work; 0 if unknown. */
export function workerSeconds(queue: QueueStore, version: string, imageSteps: number): number {
  const pace = queue.secondsPerImageStep(version);
  if (pace !== null) return imageSteps * pace;
  const device = queue.announcedDevice(version);
  return imageSteps * ((device && fullPace(device)) ?? 0);
}

/** Seconds per image-step of a device that is busy: the least that it has measured. */
function fullPace({ slotTimes }: DeviceManifest): number | null {
  const paces = slotTimes.flatMap(({ images, ms }) => (ms === null ? [] : [ms / images / 1_000]));
  return paces.length === 0 ? null : Math.min(...paces);
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
      const value = slotPace(queue, version);
      return value === null ? [] : [{ labels: { model, version }, value }];
    }),
  };
}

/** Seconds of a step of one image among as many as a worker runs at once; null if unknown. */
function slotPace(queue: QueueStore, version: string): number | null {
  const pace = queue.secondsPerImageStep(version);
  if (pace !== null) return pace;
  const device = queue.announcedDevice(version);
  const measured = device === undefined ? null : fullPace(device);
  return device === undefined || measured === null ? null : measured * device.slots;
}
