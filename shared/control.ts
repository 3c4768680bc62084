// What a hub says to the worker that has a job: to stop it, or to hand it back so that somebody else gets a turn.

import { MAX_ATTEMPT } from "./limits.ts";

export type Control =
  | { readonly type: "cancel" }
  /** Meant for one attempt only: a message that comes late must not stop the next. */
  | { readonly type: "yield"; readonly attempt: number };

const YIELD = /^yield ([1-9]\d{0,6})$/;

/** A cancellation is an empty message, the only one that earlier releases know. */
export const encodeControl = (control: Control): string =>
  control.type === "cancel" ? "" : `yield ${control.attempt}`;

/** Undefined for what only a later release understands. */
export function parseControl(text: string): Control | undefined {
  if (text === "") return { type: "cancel" };
  const attempt = Number(YIELD.exec(text)?.[1]);
  return attempt <= MAX_ATTEMPT ? { type: "yield", attempt } : undefined;
}
