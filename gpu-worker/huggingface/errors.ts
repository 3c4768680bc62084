// Errors in downloading from a model hub.

export class HubError extends Error {
  override readonly name = "HubError";
}

const MAX_HINT = 300;

/** A message of the hub, in a form that can be shown. */
export const hintOf = (message: string): string => message.replaceAll(/\p{Cc}+/gu, " ").slice(0, MAX_HINT);
