// The files that a prediction starts from, as its record names them: by path, to which answers add the origin.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";

/** What a file is for. Tokens are class ids as uint16 LE. */
export const INPUT_FIELDS = ["image", "mask", "tokens"] as const;
export type InputField = (typeof INPUT_FIELDS)[number];

const PREFIX = "/v1/files/";

/** How the input of a record names a file. */
export const inputLink = (capability: string, name: string): string => `${PREFIX}${capability}/${name}`;

/** Where the file is stored that the input of a record names. */
export function linkedFile(link: string): { capability: string; name: string } {
  const [capability, name] = link.slice(PREFIX.length).split("/");
  return { capability: capability ?? outOfBounds(), name: name ?? outOfBounds() };
}

/** The input of a record, with whole URLs. */
export function inputView(inputJson: string, origin: string): Record<string, unknown> {
  const input = JSON.parse(inputJson) as Record<string, unknown>;
  for (const field of INPUT_FIELDS) {
    const link = input[field];
    if (typeof link === "string" && link.startsWith(PREFIX)) input[field] = origin + link;
  }
  return input;
}
