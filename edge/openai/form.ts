// Image requests as forms: fields are texts there, whatever their types, and files are parts of their own.

import { MAX_SOURCE_BYTES } from "@vqd/shared/limits.ts";
import { z } from "zod";
import { readMultipart } from "../http/body/multipart.ts";
import { invalidInput, validate } from "../http/body/validation.ts";
import type { AttachedFiles } from "../service/inputs/beginning.ts";

/** Of the body beside the files. */
const OVERHEAD_BYTES = 288 * 1024;
const NUMBER = /^-?\d+(?:\.\d+)?(?:e[+-]?\d+)?$/i;

type JsonSchema = z.core.JSONSchema.BaseSchema;

/** The JSON types that each field may have. */
const knownTypes = new WeakMap<z.ZodType, ReadonlyMap<string, ReadonlySet<string>>>();

function typesOf(schema: z.ZodType): ReadonlyMap<string, ReadonlySet<string>> {
  const known = knownTypes.get(schema);
  if (known !== undefined) return known;
  const found = (one: JsonSchema): string[] => [one.type ?? [], (one.anyOf ?? []).map(found)].flat(2);
  const { properties = {} } = z.toJSONSchema(schema, { io: "input", unrepresentable: "any" });
  const types = new Map(
    Object.entries(properties).map(([name, one]) => [
      name,
      new Set(typeof one === "object" ? found(one) : []),
    ]),
  );
  knownTypes.set(schema, types);
  return types;
}

/** A text as the type that the field has. Digits that a number cannot hold stay a text, where one is allowed. */
function valueOf(text: string, types: ReadonlySet<string>): unknown {
  if (text === "null" && types.has("null")) return null;
  if (types.has("boolean") && (text === "true" || text === "false")) return text === "true";
  const isNumeric = (types.has("number") || types.has("integer")) && NUMBER.test(text);
  const isExact = !Number.isInteger(Number(text)) || Number.isSafeInteger(Number(text));
  return isNumeric && (isExact || !types.has("string")) ? Number(text) : text;
}

/**
 * The fields and files of a form. Throws a VqdError: unsupported_media_type, payload_too_large, malformed_body, or invalid_input for
 * fields that the schema refuses, and for other files than one `image` and, if `takesMask`, one `mask`.
 */
export async function readImageForm<T>(
  request: Request,
  schema: z.ZodType<T>,
  takesMask: boolean,
): Promise<{ body: T; attached: AttachedFiles }> {
  const { texts, files } = await readMultipart(request, MAX_SOURCE_BYTES + OVERHEAD_BYTES);
  const types = typesOf(schema);
  // Without a prototype, so that a field `__proto__` is refused as any other unknown one.
  const fields = Object.create(null) as Record<string, unknown>;
  for (const [name, given] of texts) {
    const known = types.get(name) ?? new Set();
    const values = given.map((text) => valueOf(text, known));
    if (name === "image" || name === "mask") throw invalidInput([{ path: name, message: "must be a file" }]);
    if (known.has("array")) fields[name] = values;
    else if (values.length === 1) [fields[name]] = values;
    else throw invalidInput([{ path: name, message: "must be given once" }]);
  }
  const attached: Record<string, Uint8Array<ArrayBuffer>> = {};
  for (const [name, given] of files) {
    const isKnown = name === "image" || (name === "mask" && takesMask);
    if (!isKnown) throw invalidInput([{ path: name, message: "is not a known field" }]);
    const [file, ...more] = given;
    if (more.length > 0) {
      const message = "must be a single file: several images are not combined";
      throw invalidInput([{ path: name, message }]);
    }
    if (file !== undefined) attached[name] = new Uint8Array(await file.arrayBuffer());
  }
  const body = validate(schema, fields);
  if (attached["image"] === undefined)
    throw invalidInput([{ path: "image", message: "is required, as a file" }]);
  return { body, attached };
}
