// How long work takes: by the pace of recent predictions or, while there are none, by what a worker has measured of its device.

import type { DeviceManifest } from "@vqd/shared/model.ts";
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

/** Seconds per image-step of a device that is busy: the least that it has measured. */
function fullPace({ slotTimes }: DeviceManifest): number | null {
  const paces = slotTimes.flatMap(({ images, ms }) => (ms === null ? [] : [ms / images / 1_000]));
  return paces.length === 0 ? null : Math.min(...paces);
}
