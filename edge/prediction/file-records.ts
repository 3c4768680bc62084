// Files that callers upload, as request handlers and the hub exchange them, and as clients see them: Replicate's file resource.

import type { ListPlace } from "./records.ts";
import { IMAGE_TYPES, type ImageType } from "./image-type.ts";
import { fileUrl, uploadUrl } from "./urls.ts";

export interface NewFile {
  readonly keyName: string;
  readonly type: ImageType;
  /** As its owner calls it. */
  readonly filename: string;
  /** SHA-256 of its bytes, in hex. */
  readonly sha256: string;
  /** A JSON object of the owner's own. */
  readonly metadataJson: string;
}

export interface FileRecord extends NewFile {
  /** In the format of a prediction's id, with the shard of its hub. */
  readonly id: string;
  /** Unguessable URL segment. */
  readonly capability: string;
  /** Bytes. */
  readonly size: number;
  /** Unix times in ms. */
  readonly createdAt: number;
  readonly expiresAt: number;
}

export interface FilePage {
  /** Newest first. */
  readonly files: readonly FileRecord[];
  readonly previous: ListPlace | null;
  readonly next: ListPlace | null;
}

/** Last segment of its URL. */
export const uploadName = (type: ImageType): string => `file.${type}`;

/** The file as clients see it; `get` is also what names it in an input. */
export const viewFile = (file: FileRecord, origin: string) => ({
  id: file.id,
  name: file.filename,
  content_type: IMAGE_TYPES[file.type],
  size: file.size,
  etag: file.sha256,
  checksums: { sha256: file.sha256 },
  metadata: JSON.parse(file.metadataJson) as Record<string, unknown>,
  created_at: new Date(file.createdAt).toISOString(),
  expires_at: new Date(file.expiresAt).toISOString(),
  urls: {
    get: uploadUrl(origin, file.id),
    download: fileUrl(origin, file.capability, uploadName(file.type)),
  },
});
