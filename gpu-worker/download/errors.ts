// Errors in downloading from the Hugging Face Hub.

export class DownloadError extends Error {
  override readonly name = "DownloadError";
}

const MAX_HINT = 300;

/** A message of the server, in a form that can be shown. */
export const hintOf = (message: string): string => message.replaceAll(/\p{Cc}+/gu, " ").slice(0, MAX_HINT);
