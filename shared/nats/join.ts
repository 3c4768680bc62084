// The token by which a worker on another machine joins a stack of `npm start`: where NATS is, and how each proves itself.

import { z } from "zod";

const PREFIX = "vqd-join-";
const MAX_CHARS = 4_096;

export const joinSchema = z.strictObject({
  v: z.literal(1),
  /** `tls://ADDRESS:PORT`, where TLS comes before NATS' first message. */
  url: z.url({ protocol: /^tls$/ }),
  /** Of the user `worker`. */
  password: z.string().min(16).max(200),
  /** The only CA whose certificates are accepted: DER as base64. */
  ca: z.base64().max(2_048),
});
export type Join = z.infer<typeof joinSchema>;

/** Whoever has it can run jobs of the stack's models, and see their tokens. */
export function joinToken(join: Join): string {
  const base64 = btoa(JSON.stringify(join));
  return PREFIX + base64.replaceAll("+", "-").replaceAll("/", "_").replaceAll("=", "");
}

/** Throws an Error that says what is wrong with the token. */
export function parseJoinToken(token: string): Join {
  if (!token.startsWith(PREFIX) || token.length > MAX_CHARS)
    throw new Error(`this is no token of npm start -- --listen: it begins with ${PREFIX}`);
  try {
    const text = atob(token.slice(PREFIX.length).replaceAll("-", "+").replaceAll("_", "/"));
    return joinSchema.parse(JSON.parse(text));
  } catch (cause) {
    throw new Error("the token is damaged: copy it again, whole", { cause });
  }
}
