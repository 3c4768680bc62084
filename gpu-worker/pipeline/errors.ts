// Pipeline errors that the caller can fix.

/** An argument is not one that the pipeline or its model accepts. */
export class InvalidInputError extends Error {
  override readonly name = "InvalidInputError";
  /** The argument's name. */
  readonly field: string;

  constructor(field: string, reason: string) {
    super(`${field} ${reason}`);
    this.field = field;
  }
}
