// What is wrong with a checkpoint, and in which file.

export class CheckpointError extends Error {
  override readonly name = "CheckpointError";
  /** The file or folder that is wrong. */
  readonly path: string;

  constructor(path: string, reason: string, options?: ErrorOptions) {
    super(`${path}: ${reason}`, options);
    this.path = path;
  }
}
