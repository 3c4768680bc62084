// What the client throws for responses that are not a success.

export class VqdError extends Error {
  /**
   * @param {string} message
   * @param {{
   *   status: number,
   *   code?: string,
   *   errors?: import("./types.d.ts").FieldError[],
   *   requestId?: string,
   *   retryAfterMs?: number,
   * }} details `status` is 0 if the service could not be reached
   */
  constructor(message, { status, code = "", errors = [], requestId = "", retryAfterMs }) {
    super(message);
    this.name = "VqdError";
    this.status = status;
    /** The service's stable code for programs. */
    this.code = code;
    /** All invalid fields. */
    this.errors = errors;
    this.requestId = requestId;
    this.retryAfterMs = retryAfterMs;
  }
}

/** @param {Response} response one that is not a success @returns {Promise<VqdError>} */
export async function errorOf(response) {
  /** @type {any} */
  const body = await response.json().catch(() => ({}));
  const message =
    body.detail ?? body.error?.message ?? `the service responded with status ${response.status}`;
  const retryAfter = Number(response.headers.get("retry-after") ?? NaN);
  return new VqdError(message, {
    status: response.status,
    code: body.code,
    errors: body.errors,
    requestId: response.headers.get("x-request-id") ?? "",
    ...(Number.isFinite(retryAfter) ? { retryAfterMs: 1_000 * retryAfter } : {}),
  });
}
