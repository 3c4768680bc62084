/** A mistake in the options of a command; the message alone is shown. */
export class UsageError extends Error {
  override readonly name = "UsageError";
}
