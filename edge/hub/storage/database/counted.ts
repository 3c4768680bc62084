// Counts the rows that a hub writes: they are what its database is billed by.

/** The storage, with `count` called for the rows that each statement writes, entries of indexes included. */
export function countingRows(
  storage: DurableObjectStorage,
  count: (rows: number) => void,
): DurableObjectStorage {
  const { sql } = storage;
  const counting = proxyOf(sql, {
    exec: (query: string, ...values: SqlStorageValue[]) => {
      const cursor = sql.exec(query, ...values);
      if (cursor.rowsWritten > 0) count(cursor.rowsWritten);
      return cursor;
    },
  });
  return proxyOf(storage, { sql: counting });
}

/** `target` with some of its members replaced; the others are called on itself, as objects of the runtime demand. */
function proxyOf<T extends object>(target: T, replaced: object): T {
  return new Proxy(target, {
    get: (_, property) => {
      if (property in replaced) return Reflect.get(replaced, property) as unknown;
      const value = Reflect.get(target, property) as unknown;
      return typeof value === "function" ? (value.bind(target) as unknown) : value;
    },
  });
}
