// The URLs of the API's resources, for links in responses.

export const predictionUrl = (origin: string, id: string): string => `${origin}/v1/predictions/${id}`;
export const cancelUrl = (origin: string, id: string): string => `${predictionUrl(origin, id)}/cancel`;
export const eventsUrl = (origin: string, id: string): string => `${predictionUrl(origin, id)}/events`;
export const streamUrl = (origin: string, id: string, capability: string): string =>
  `${origin}/v1/streams/${id}/${capability}`;
export const fileUrl = (origin: string, capability: string, name: string): string =>
  `${origin}/v1/files/${capability}/${name}`;
export const sharedUrl = (origin: string, id: string, capability: string): string =>
  `${origin}/v1/shared/${id}/${capability}`;
export const sharedPageUrl = (origin: string, id: string, capability: string): string =>
  `${origin}/#run=${id}&share=${capability}`;
export const uploadUrl = (origin: string, id: string): string => `${origin}/v1/files/${id}`;
export const modelUrl = (origin: string, name: string): string => `${origin}/v1/models/${name}`;
