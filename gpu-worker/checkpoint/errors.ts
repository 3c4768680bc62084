// Errors in checkpoints: the file, the reason and the remedy.

export const FETCH_AGAIN = "fetch the file again";

export interface CheckpointErrorOptions extends ErrorOptions {
  /** What the user should do, in the imperative. */
  readonly remedy?: string | undefined;
}

export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  /** The file or folder with the error. */
  readonly path: string;
  readonly reason: string;
  readonly remedy: string | undefined;

  constructor(path: string, reason: string, { remedy, cause }: CheckpointErrorOptions = {}) {
    super(`${path}: ${reason}${remedy === undefined ? "" : `; ${remedy}`}`, { cause });
    this.path = path;
    this.reason = reason;
    this.remedy = remedy;
  }
}
