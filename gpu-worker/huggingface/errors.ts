// Errors in downloading from a model hub.

export class HubError extends Error {
  override readonly name = "HubError";
}
