// Replicate's files resource: images that callers upload, to name them in inputs.

import { VqdError } from "@vqd/shared/errors.ts";
import { isPredictionId } from "@vqd/shared/ids.ts";
import { MAX_SOURCE_BYTES } from "@vqd/shared/limits.ts";
import { z } from "zod";
import { readMultipart } from "../http/body/multipart.ts";
import { invalidInput } from "../http/body/validation.ts";
import type { AppContext } from "../http/context.ts";
import { listAnswer, listQuery } from "../http/pagination.ts";
import { originOf } from "../http/urls.ts";
import { viewFile } from "../prediction/file-records.ts";
import { unwrap } from "../prediction/hub-result.ts";
import { imageTypeOf, NO_IMAGE } from "../prediction/image-type.ts";
import type { HubStub } from "../service/hubs.ts";
import { sha256Hex } from "../util/bytes.ts";

const MAX_METADATA_CHARS = 4_096;
const MAX_NAME_CHARS = 255;
/** Of the body beside the file. */
const OVERHEAD_BYTES = 64 * 1024;
const FIELDS: ReadonlySet<string> = new Set(["content", "metadata", "filename", "type"]);

const metadataSchema = z.record(z.string(), z.unknown());

/** The metadata as compact JSON. Throws a VqdError (invalid_input). */
function metadataOf(text: string): string {
  let parsed: unknown;
  try {
    parsed = text === "" ? {} : JSON.parse(text);
  } catch {
    // Refused below.
  }
  const metadata = metadataSchema.safeParse(parsed);
  const json = JSON.stringify(metadata.data);
  if (!metadata.success || json.length > MAX_METADATA_CHARS) {
    const message = `must be a JSON object of at most ${MAX_METADATA_CHARS} characters`;
    throw invalidInput([{ path: "metadata", message }]);
  }
  return json;
}

/** `POST /v1/files` */
export async function createFile(c: AppContext): Promise<Response> {
  const { texts, files } = await readMultipart(c.req.raw, MAX_SOURCE_BYTES + OVERHEAD_BYTES);
  const unknown = [...texts.keys(), ...files.keys()].filter((name) => !FIELDS.has(name));
  if (unknown.length > 0) {
    throw invalidInput(unknown.map((path) => ({ path, message: "is not a known field" })));
  }
  const [content, ...more] = files.get("content") ?? [];
  if (content === undefined) throw invalidInput([{ path: "content", message: "is required, as a file" }]);
  if (more.length > 0) throw invalidInput([{ path: "content", message: "must be a single file" }]);
  if (content.size > MAX_SOURCE_BYTES) {
    throw invalidInput([{ path: "content", message: `must have at most ${MAX_SOURCE_BYTES} bytes` }]);
  }
  const bytes = new Uint8Array(await content.arrayBuffer());
  const type = imageTypeOf(bytes);
  if (type === undefined) throw invalidInput([{ path: "content", message: NO_IMAGE }]);
  const keyName = c.get("keyName");
  const file = {
    keyName,
    type,
    filename: (texts.get("filename")?.[0] ?? content.name).slice(0, MAX_NAME_CHARS),
    sha256: await sha256Hex(bytes),
    // Replicate's JavaScript client sends it as a file.
    metadataJson: metadataOf((await files.get("metadata")?.[0]?.text()) ?? texts.get("metadata")?.[0] ?? ""),
  };
  const record = unwrap(await c.get("hubs").own.createFile(file, bytes));
  const view = viewFile(record, originOf(c.get("config"), c.req.url));
  return c.json(view, 201, { location: view.urls.get });
}

/** `GET /v1/files`: those of the key's owner, newest first. */
export async function listFiles(c: AppContext): Promise<Response> {
  const query = listQuery(c);
  const keyName = c.get("keyName");
  const page = unwrap(await c.get("hubs").own.files(keyName, query));
  const origin = originOf(c.get("config"), c.req.url);
  return listAnswer(
    c,
    page,
    page.files.map((file) => viewFile(file, origin)),
  );
}

/** The hub of the file in the path, and the file's id. Throws a VqdError (not_found) for what cannot be one. */
function fileInPath(c: AppContext): { hub: HubStub; id: string } {
  const id = c.req.param("file_id") ?? "";
  if (!isPredictionId(id)) throw new VqdError("not_found", "the file does not exist or has expired");
  return { hub: c.get("hubs").ofPrediction(id), id };
}

/** `GET /v1/files/{file_id}` */
export async function getUpload(c: AppContext): Promise<Response> {
  const { hub, id } = fileInPath(c);
  const file = unwrap(await hub.file(id, c.get("keyName")));
  c.header("cache-control", "no-store");
  return c.json(viewFile(file, originOf(c.get("config"), c.req.url)));
}

/** `DELETE /v1/files/{file_id}`. Predictions that were created with the file have copies of it. */
export async function deleteUpload(c: AppContext): Promise<Response> {
  const { hub, id } = fileInPath(c);
  unwrap(await hub.deleteFile(id, c.get("keyName")));
  return c.body(null, 204);
}
