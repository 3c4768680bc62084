// The URLs that answers link to.

import type { Config } from "./env.ts";

/** Origin that clients see: the configured one, else that of the request. */
export const originOf = (config: Config, requestUrl: string): string =>
  config.publicUrl ?? new URL(requestUrl).origin;

export const predictionUrl = (origin: string, id: string): string => `${origin}/v1/predictions/${id}`;
export const cancelUrl = (origin: string, id: string): string => `${predictionUrl(origin, id)}/cancel`;
export const eventsUrl = (origin: string, id: string): string => `${predictionUrl(origin, id)}/events`;
export const streamUrl = (origin: string, id: string, capability: string): string =>
  `${origin}/v1/streams/${id}/${capability}`;
export const fileUrl = (origin: string, capability: string, name: string): string =>
  `${origin}/v1/files/${capability}/${name}`;
export const modelUrl = (origin: string, name: string): string => `${origin}/v1/models/${name}`;
