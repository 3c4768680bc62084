// The files that a prediction starts from, as its record names them: by path, to which answers add the origin.

/** What a file is for. Tokens are class ids as uint16 LE. */
export const INPUT_FIELDS = ["image", "mask", "tokens"] as const;
export type InputField = (typeof INPUT_FIELDS)[number];

const PREFIX = "/v1/files/";

/** How the input of a record names a file. */
export const inputLink = (capability: string, name: string): string => `${PREFIX}${capability}/${name}`;

/** The input of a record, with whole URLs. */
export function inputView(inputJson: string, origin: string): Record<string, unknown> {
  const input = JSON.parse(inputJson) as Record<string, unknown>;
  for (const field of INPUT_FIELDS) {
    const link = input[field];
    if (typeof link === "string" && link.startsWith(PREFIX)) input[field] = origin + link;
  }
  return input;
}
