// Errors of the pipeline that are the caller's to mend.

/** An argument is outside of what the pipeline or its model takes. */
export class InvalidInputError extends Error {
  override readonly name = "InvalidInputError";
  /** The argument's name. */
  readonly field: string;

  constructor(field: string, reason: string) {
    super(`${field} ${reason}`);
    this.field = field;
  }
}
