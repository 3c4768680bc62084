// What went wrong between here and a model hub.

export class HubError extends Error {
  override readonly name = "HubError";
}
