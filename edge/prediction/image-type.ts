// The types of image files that callers may bring, recognized by their first bytes: names and headers can say anything.

/** Their extensions, and their media types. SVG is not among them: it can hold scripts and references. */
export const IMAGE_TYPES = {
  png: "image/png",
  jpg: "image/jpeg",
  webp: "image/webp",
  gif: "image/gif",
  avif: "image/avif",
  tiff: "image/tiff",
} as const;
export type ImageType = keyof typeof IMAGE_TYPES;

const ascii = (bytes: Uint8Array, start: number, end: number): string =>
  String.fromCharCode(...bytes.subarray(start, end));

/** The type of a file; undefined if it is none of them. Whether the rest of it is in order only a decoder can tell. */
export function imageTypeOf(bytes: Uint8Array): ImageType | undefined {
  const magic = ascii(bytes, 0, 12);
  if (magic.startsWith("\x89PNG\r\n\x1a\n")) return "png";
  if (magic.startsWith("\xff\xd8\xff")) return "jpg";
  if (magic.startsWith("RIFF") && magic.endsWith("WEBP")) return "webp";
  if (magic.startsWith("GIF87a") || magic.startsWith("GIF89a")) return "gif";
  if (magic.slice(4, 11) === "ftypavi") return "avif";
  if (magic.startsWith("II*\0") || magic.startsWith("MM\0*")) return "tiff";
  return undefined;
}

/** What is wrong with a file that is none of them, for its field's error. */
export const NO_IMAGE = "must be a PNG, JPEG, WebP, GIF, AVIF or TIFF image";
