// A page of predictions, those in the archive included, and how many bytes were read for it.

import type { ListQuery, PredictionPage, PredictionRecord } from "../../prediction/records.ts";
import { byteLength } from "../../util/bytes.ts";
import { queuePlace } from "../admission/queue-place.ts";
import type { ArchivePart } from "../archive/archive-store.ts";
import { placeOf, recordOf } from "../archive/lines.ts";
import type { ArchiveReader } from "../archive/reader.ts";
import { toPage } from "./page.ts";
import type { PredictionStore } from "./store.ts";

/** Bytes of input in a page: a hundred predictions with prompts of an ordinary length fit. */
const MAX_INPUT_BYTES = 256 * 1024;
/** Objects of the archive that are read for a page, and how many at a time: a Worker may have six connections open. */
const MAX_PARTS = 24;
const PARTS_AT_ONCE = 6;

type Place = Pick<PredictionRecord, "id" | "createdAt">;

/** A page of an owner's predictions, without their logs, which can be long. Errors: internal while the archive cannot be read. */
export async function listPredictions(
  store: PredictionStore,
  archive: ArchiveReader,
  keyName: string,
  query: ListQuery,
): Promise<{ page: PredictionPage; bytes: number }> {
  const found = store.page(keyName, query, MAX_INPUT_BYTES);
  const stored: PredictionRecord[] = found.rows.map((row) =>
    Object.assign(row, { queue: queuePlace(store, row) }),
  );
  // Looked up before anything is awaited: what is archived from now on is still among the stored ones.
  const parts = store.archive.partsOf(keyName, query, MAX_PARTS + 1);
  const { rows, bytes, hasMore } = await withArchived(archive, { ...found, rows: stored }, parts, query);
  const { items, previous, next } = toPage(rows, query, hasMore);
  return { page: { records: items.map((row) => Object.assign(row, { logs: "" })), previous, next }, bytes };
}

interface Found {
  readonly rows: PredictionRecord[];
  readonly bytes: number;
  readonly hasMore: boolean;
}

/** What is stored, together with what is archived in `parts`, which are the nearest ones. */
async function withArchived(
  archive: ArchiveReader,
  stored: Found,
  parts: readonly ArchivePart[],
  query: ListQuery,
): Promise<Found> {
  if (parts.length === 0) return stored;
  const order = orderOf(query);
  const isWanted = filterOf(query, order);
  // Beyond the last of these there may be others in the database.
  const last = stored.hasMore ? stored.rows.at(-1) : undefined;
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
      const wanted = lines.filter((line) => isWanted(placeOf(line)));
      rows.push(...wanted.map((line) => recordOf(line).record));
    }
    rows.sort(order);
  }
  const unread = next();
  const end = [unread === undefined ? undefined : nearestOf(unread, query), last]
    .filter((place) => place !== undefined)
    .toSorted(order)[0];
  // What is not known to be next comes on another page.
  const known = rows.filter((row) => end === undefined || order(row, end) <= 0);
  const page = cut(known, query.limit);
  const hasMore = page.length < known.length || unread !== undefined || stored.hasMore;
  return { rows: page, bytes, hasMore };
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

type Order = (a: Place, b: Place) => number;

/** Nearest first. */
function orderOf({ from }: ListQuery): Order {
  const sign = from?.towards === "newer" ? 1 : -1;
  return (a, b) => sign * (a.createdAt - b.createdAt || (a.id < b.id ? -1 : Number(a.id > b.id)));
}

function filterOf({ from, createdAfter, createdBefore }: ListQuery, order: Order): (place: Place) => boolean {
  return (place) =>
    (from === null || order(from, place) < 0) &&
    (createdAfter === null || place.createdAt > createdAfter) &&
    (createdBefore === null || place.createdAt < createdBefore);
}

const nearestOf = ({ firstAt, firstId, lastAt, lastId }: ArchivePart, { from }: ListQuery): Place =>
  from?.towards === "newer" ? { createdAt: firstAt, id: firstId } : { createdAt: lastAt, id: lastId };
