// Acts that change who may do or see what, or that undo the work of another key: what is kept of them.

export const AUDIT_ACTIONS = [
  "webhook_secret.read",
  "webhook_secret.rotated",
  "prediction.canceled",
  "prediction.deleted",
  "prediction.shared",
  "prediction.unshared",
] as const;
export type AuditAction = (typeof AUDIT_ACTIONS)[number];

/** Who acts: a key of the owner, by a request. */
export interface Actor {
  readonly keyId: string;
  readonly requestId: string;
}

export interface AuditEntry extends Actor {
  /** Its number among those of the owner. */
  readonly seq: number;
  /** Unix time in ms. */
  readonly at: number;
  readonly action: AuditAction;
  /** The service's id of the prediction, if it is about one. */
  readonly object: string | null;
}

export interface AuditQuery {
  /** Only entries with lower numbers; null for the newest. */
  readonly before: number | null;
  readonly limit: number;
}
