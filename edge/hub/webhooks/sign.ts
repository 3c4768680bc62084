// Secrets and signatures according to Standard Webhooks 1.0.0 (standardwebhooks.com, "symmetric").

import { encodeBase64 } from "../../util/bytes.ts";

const PREFIX = "whsec_";
/** The standard requires 24 to 64. */
const SECRET_BYTES = 32;

export const newWebhookSecret = (): string =>
  PREFIX + encodeBase64(crypto.getRandomValues(new Uint8Array(SECRET_BYTES)));

/** The same for all attempts, so that a receiver can detect repetitions. */
export const newWebhookId = (): string => `msg_${crypto.randomUUID().replaceAll("-", "")}`;

export interface SignedMessage {
  readonly id: string;
  /** Unix time of this attempt in seconds. */
  readonly timestamp: number;
  readonly body: string;
}

/** `v1,<HMAC-SHA256 of "id.timestamp.body" in base64>` for each secret, separated by spaces. */
export async function webhookSignature(
  secrets: readonly string[],
  { id, timestamp, body }: SignedMessage,
): Promise<string> {
  const message = new TextEncoder().encode(`${id}.${timestamp}.${body}`);
  const signatures = secrets.map(async (secret) => {
    const bytes = Uint8Array.from(atob(secret.slice(PREFIX.length)), (letter) => letter.codePointAt(0) ?? 0);
    const key = await crypto.subtle.importKey("raw", bytes, { name: "HMAC", hash: "SHA-256" }, false, [
      "sign",
    ]);
    return `v1,${encodeBase64(new Uint8Array(await crypto.subtle.sign("HMAC", key, message)))}`;
  });
  return (await Promise.all(signatures)).join(" ");
}
