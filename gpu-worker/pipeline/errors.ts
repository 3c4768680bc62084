// Pipeline errors that the caller can fix.

/** An argument is not one that the pipeline or its model accepts. */
export class InvalidInputError extends Error {
  override readonly name = "InvalidInputError";
  /** The argument's name. */
  readonly field: string;

  constructor(field: string, reason: string, options?: ErrorOptions) {
    super(`${field} ${reason}`, options);
    this.field = field;
  }
}
