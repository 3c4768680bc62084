// A page of predictions, those in the archive included, and how many bytes were read for it.

import {
  type ListQuery,
  LOOKED_THROUGH,
  type PredictionPage,
  type PredictionQuery,
  type PredictionRecord,
} from "../../prediction/records.ts";
import { byteLength } from "../../util/bytes.ts";
import { queuePlace } from "../admission/queue-place.ts";
import type { ArchivePart } from "../archive/archive-store.ts";
import { recordOf } from "../archive/lines.ts";
import type { ArchiveReader } from "../archive/reader.ts";
import { type Listed, toPage } from "./page.ts";
import type { PredictionStore } from "./store.ts";

/** Bytes of input in a page: a hundred predictions with prompts of an ordinary length fit. */
const MAX_INPUT_BYTES = 256 * 1024;
/** What looking through as many as a filter may costs, in bytes that could be read instead. */
const FILTERED_BYTES = 64 * 1024;
/** Objects of the archive that are read for a page, and how many at a time: a Worker may have six connections open. */
const MAX_PARTS = 24;
const PARTS_AT_ONCE = 6;

/**
 * A page of an owner's predictions, without their logs, which can be long; a filter looks through `lookedThrough` of the stored ones.
 * Errors: internal while the archive cannot be read.
 */
export async function listPredictions(
  store: PredictionStore,
  archive: ArchiveReader,
  keyName: string,
  query: PredictionQuery,
  lookedThrough = LOOKED_THROUGH,
): Promise<{ page: PredictionPage; bytes: number }> {
  const found = store.page(keyName, query, { maxBytes: MAX_INPUT_BYTES, lookedThrough });
  const stored: PredictionRecord[] = found.rows.map((row) =>
    Object.assign(row, { queue: queuePlace(store, row) }),
  );
  // Looked up before anything is awaited: what is archived from now on is still among the stored ones.
  const parts = store.archive.partsOf(keyName, query, MAX_PARTS + 1);
  const { rows, bytes, end } = await withArchived(archive, { ...found, rows: stored }, parts, query);
  const { items, previous, next } = toPage(rows, query, end);
  const page = { records: items.map((row) => Object.assign(row, { logs: "" })), previous, next };
  return { page, bytes: bytes + (query.only === undefined ? 0 : FILTERED_BYTES) };
}

interface Found {
  readonly rows: PredictionRecord[];
  readonly bytes: number;
  /** The furthest that was looked at, if there may be others beyond it. */
  readonly end: Listed | null;
}

/** What is stored, together with what is archived in `parts`, which are the nearest ones. */
async function withArchived(
  archive: ArchiveReader,
  stored: Found,
  parts: readonly ArchivePart[],
  query: PredictionQuery,
): Promise<Found> {
  if (parts.length === 0) return stored;
  const order = orderOf(query);
  const isInRange = rangeOf(query, order);
  // Beyond it there may be others in the database.
  const last = stored.end ?? undefined;
  /** All that was looked at, wanted or not. */
  const seen: Listed[] = [...stored.rows];
  const rows = [...stored.rows];
  let { bytes } = stored;
  let read = 0;
  const next = (): ArchivePart | undefined => parts[read];
  /** Whether what is nearest in the next object belongs on the page. */
  const needsMore = (): boolean => {
    const part = next();
    if (part === undefined || read >= MAX_PARTS) return false;
    const edge = rows[query.limit] ?? last;
    return edge === undefined || order(nearestOf(part, query), edge) < 0;
  };
  while (needsMore()) {
    const group = groupOf(parts.slice(read, MAX_PARTS), query.limit + 1 - rows.length);
    read += group.length;
    for (const { lines, bytes: size } of await Promise.all(group.map((part) => archive.linesOf(part)))) {
      bytes += size;
      const inRange = lines.filter(({ place }) => isInRange(place));
      seen.push(...inRange.map(({ place }) => place));
      rows.push(...inRange.map((line) => recordOf(line).record).filter((record) => isWanted(record, query)));
    }
    rows.sort(order);
  }
  const unread = next();
  const bound = [unread === undefined ? undefined : nearestOf(unread, query), last]
    .filter((place) => place !== undefined)
    .toSorted(order)[0];
  // What is not known to be next comes on another page.
  const isKnown = (place: Listed): boolean => bound === undefined || order(place, bound) <= 0;
  const known = rows.filter(isKnown);
  const page = cut(known, query.limit);
  if (page.length < known.length) return { rows: page, bytes, end: page.at(-1) ?? null };
  if (bound === undefined || bound === last) return { rows: page, bytes, end: bound ?? null };
  // The next object has yet to be read: what comes before it has been seen.
  const end = seen
    .filter((place) => order(place, bound) < 0)
    .toSorted(order)
    .at(-1);
  return { rows: page, bytes, end: end ?? null };
}

/** Objects to read at once, so that there are `missing` records, as far as can be told. */
function groupOf(parts: readonly ArchivePart[], missing: number): ArchivePart[] {
  const group: ArchivePart[] = [];
  let records = 0;
  for (const part of parts) {
    group.push(part);
    records += part.records;
    if (records >= missing || group.length === PARTS_AT_ONCE) break;
  }
  return group;
}

/** At most `limit`, and no more than have the bytes of a page in their input, but at least one. */
function cut(rows: readonly PredictionRecord[], limit: number): PredictionRecord[] {
  let bytes = 0;
  const end = rows.findIndex((row, i) => {
    bytes += byteLength(row.inputJson);
    return i > 0 && (i === limit || bytes > MAX_INPUT_BYTES);
  });
  return rows.slice(0, end === -1 ? rows.length : end);
}

type Order = (a: Listed, b: Listed) => number;

/** Nearest first. */
function orderOf({ from }: ListQuery): Order {
  const sign = from?.towards === "newer" ? 1 : -1;
  return (a, b) => sign * (a.createdAt - b.createdAt || (a.id < b.id ? -1 : Number(a.id > b.id)));
}

/** Whether a record is what a filter looks for; those in the database are asked by filterClause. */
function isWanted({ status, model, id, ownId }: PredictionRecord, { only }: PredictionQuery): boolean {
  if (only === undefined) return true;
  const part = only.id?.toLowerCase() ?? "";
  return (
    (only.status === null || status === only.status) &&
    (only.model === null || model === only.model) &&
    (id.includes(part) || ownId?.toLowerCase().includes(part) === true)
  );
}

function rangeOf({ from, createdAfter, createdBefore }: ListQuery, order: Order): (place: Listed) => boolean {
  return (place) =>
    (from === null || order(from, place) < 0) &&
    (createdAfter === null || place.createdAt > createdAfter) &&
    (createdBefore === null || place.createdAt < createdBefore);
}

const nearestOf = ({ firstAt, firstId, lastAt, lastId }: ArchivePart, { from }: ListQuery): Listed =>
  from?.towards === "newer" ? { createdAt: firstAt, id: firstId } : { createdAt: lastAt, id: lastId };
