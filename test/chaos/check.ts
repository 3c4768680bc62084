// What must hold of a run under accidents, in words, so that the test and the command ask the same.

import type { ChaosReport } from "./chaos.ts";
import { inputOf } from "./jobs.ts";

/** Steps that may be made twice or in vain. */
const MAX_EXTRA = 0.1;

/** Everything that is wrong; nothing if all is well. */
export function faultsOf(report: ChaosReport, minSteps: number): string[] {
  const faults: string[] = [];
  for (const [job, { prediction, images, steps, ends }] of report.disturbed.entries()) {
    const name = `job ${job} (${prediction.id})`;
    const { num_inference_steps: total, num_outputs: count } = inputOf(job, minSteps);
    if (prediction.status !== "succeeded") {
      faults.push(`${name} is ${prediction.status}: ${prediction.error}`);
      continue;
    }
    if (ends !== 1) faults.push(`${name} has ended ${ends} times`);
    const wanted = Array.from({ length: total }, (_, i) => i + 1);
    if (steps.join() !== wanted.join())
      faults.push(`${name} showed steps ${steps.join()}, not 1 to ${total}`);
    if (images.length !== count) faults.push(`${name} has ${images.length} images, not ${count}`);
    if (images.join() !== report.undisturbed[job]?.images.join()) {
      faults.push(`${name} has other images than undisturbed`);
    }
  }
  // An interruption may come when some of a job's images have made a step that others have not.
  const begun = report.undisturbed.reduce(
    (sum, { attempts, images }) => sum + (attempts - 1) * (images.length - 1),
    0,
  );
  const inVain = report.undisturbedSteps - report.steps;
  if (inVain < 0 || inVain > begun) {
    faults.push(`undisturbed, ${report.undisturbedSteps} steps were made, not ${report.steps}`);
  }
  const extra = report.disturbedSteps / report.steps - 1;
  if (extra > MAX_EXTRA) faults.push(`${(100 * extra).toFixed(1)} % more steps were made than needed`);
  return [...faults, ...miscounts(report)];
}

/** What was used is counted to the step, and each prediction once. */
function miscounts({ undisturbed, disturbed, steps, usage: { byDay, byLine, ids } }: ChaosReport): string[] {
  const made = [...undisturbed, ...disturbed];
  const images = made.reduce((sum, outcome) => sum + outcome.images.length, 0);
  const wanted = JSON.stringify({ predictions: made.length, images, steps: 2 * steps });
  const faults = Object.entries({ "by day": byDay, "by line": byLine })
    .filter(([, used]) => JSON.stringify(used) !== wanted)
    .map(([how, used]) => `${how} the usage is ${JSON.stringify(used)}, not ${wanted}`);
  const known = made.map(({ prediction }) => prediction.id);
  if (ids.toSorted().join() !== known.toSorted().join()) {
    faults.push(
      `the export has ${ids.length} lines, ${new Set(ids).size} different, of ${known.length} predictions`,
    );
  }
  return faults;
}
