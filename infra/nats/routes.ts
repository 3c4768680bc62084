// The stack is its own operator: what it serves is what its models' names stand for.

import { jetstreamManager } from "@nats-io/jetstream";
import { readRoute, RouteConflict, servesAlone, withShares, writeRoute } from "@vqd/gpu-worker/ops/routes.ts";
import { announcedVersions } from "@vqd/gpu-worker/ops/versions.ts";
import { modelKey } from "@vqd/shared/model.ts";
import { type OperatorServer, operatorConnection } from "./streams.ts";

/** Hubs write the first route of a name at the same time. */
const TRIES = 5;

/** Gives the versions with these keys, as far as workers have announced them, all requests for their names. Safe to repeat. */
export async function promoteAnnounced(server: OperatorServer, keys: readonly string[]): Promise<void> {
  const nc = await operatorConnection(server);
  try {
    const jsm = await jetstreamManager(nc);
    const announced = (await announcedVersions(jsm)).filter((one) => keys.includes(modelKey(one)));
    for (const { name, version } of announced) {
      for (let tries = 1; ; tries++) {
        const stored = await readRoute(jsm, name);
        if (servesAlone(stored.route, version)) break;
        try {
          await writeRoute(jsm, stored, withShares(stored, [{ version, weight: 1 }]), "npm start");
          break;
        } catch (error) {
          if (!(error instanceof RouteConflict) || tries === TRIES) throw error;
        }
      }
    }
  } finally {
    await nc.close();
  }
}
