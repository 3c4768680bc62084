// Ids that callers give to their predictions (PUT): names within an owner's predictions, beside the ids that the service assigns.

import { isPredictionId } from "@vqd/shared/ids.ts";

export const OWN_ID_PATTERN = /^[A-Za-z0-9][\w.-]{0,99}$/;

/** Whether a caller may name a prediction so: nothing that looks like one of the service's own ids. */
export const isOwnId = (id: string): boolean => OWN_ID_PATTERN.test(id) && !isPredictionId(id);

/** What an idempotency key that is an own id begins with. */
export const OWN_ID_PREFIX = "id ";

/** An own id as the idempotency key that it is. The space keeps it apart from keys of the header. */
export const keyOfOwnId = (id: string): string => `${OWN_ID_PREFIX}${id}`;

/** The own id that an idempotency key stands for; null if it is one of the header. */
export const ownIdOf = (key: string | null): string | null =>
  key?.startsWith(OWN_ID_PREFIX) === true ? key.slice(OWN_ID_PREFIX.length) : null;
