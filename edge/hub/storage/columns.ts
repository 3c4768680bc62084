// Reads the values of SQLite columns as the types declared in the schema.

export type Row = Record<string, SqlStorageValue>;

type Value = SqlStorageValue | undefined;

export const text = (value: Value): string => (typeof value === "string" ? value : "");
export const textOrNull = (value: Value): string | null => (typeof value === "string" ? value : null);
export const number = (value: Value): number => (typeof value === "number" ? value : 0);
export const numberOrNull = (value: Value): number | null => (typeof value === "number" ? value : null);
