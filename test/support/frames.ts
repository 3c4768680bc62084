// Frames as nobody should send them: valid ones that were damaged, in their bytes or in what they say.

import * as fc from "fast-check";

const NEWLINE = 0x0a;
const NESTING = 5_000;
const LONG = "x".repeat(50_000);

/** What no field should hold, and what some fields may. */
const anyValue: fc.Arbitrary<unknown> = fc.oneof(
  fc.jsonValue({ maxDepth: 2 }),
  fc.constantFrom<unknown>(
    -1,
    0,
    0.5,
    1e3,
    2 ** 31,
    Number.MAX_SAFE_INTEGER,
    Number.MAX_SAFE_INTEGER + 1,
    1e308,
    "",
    LONG,
    "../../etc/passwd",
    "\u0000\u001B]0;x\u0007",
    null,
    [],
    {},
    Array<number>(10_000).fill(0),
  ),
  fc.integer({ min: -10, max: 1_100 }),
);

interface Text {
  readonly json: string;
  readonly attachment: Uint8Array;
}

function split(frame: Uint8Array): Text {
  const end = frame.indexOf(NEWLINE);
  const decoder = new TextDecoder();
  return { json: decoder.decode(frame.subarray(0, end)), attachment: frame.subarray(end + 1) };
}

function join(json: string, attachment: Uint8Array): Uint8Array {
  const line = new TextEncoder().encode(`${json}\n`);
  const frame = new Uint8Array(line.length + attachment.length);
  frame.set(line);
  frame.set(attachment, line.length);
  return frame;
}

/** Where in a value another one could stand: the paths to all that it holds. */
function pathsOf(value: unknown, path: readonly string[] = []): string[][] {
  const paths: string[][] = [];
  if (typeof value !== "object" || value === null) return paths;
  for (const [key, held] of Object.entries(value)) {
    const inner = [...path, key];
    paths.push(inner, ...pathsOf(held, inner));
  }
  return paths;
}

function replaced(
  json: string,
  path: readonly string[],
  change: (holder: object, key: string) => void,
): string {
  const root = JSON.parse(json) as object;
  const holder = path
    .slice(0, -1)
    .reduce<object>((at, key) => (at as Readonly<Record<string, object>>)[key] ?? at, root);
  change(holder, path.at(-1) ?? "");
  return JSON.stringify(root);
}

/** A damaged form of `frame`: other values, fields that are missing or too many, other attachments, other bytes. */
export function damaged(frame: Uint8Array): fc.Arbitrary<Uint8Array> {
  const { json, attachment } = split(frame);
  const paths = pathsOf(JSON.parse(json));
  const path = fc.constantFrom(...paths);
  return fc.oneof(
    {
      weight: 6,
      arbitrary: fc.tuple(path, anyValue).map(([at, value]) =>
        join(
          replaced(json, at, (holder, key) => Object.assign(holder, { [key]: value })),
          attachment,
        ),
      ),
    },
    {
      weight: 2,
      arbitrary: path.map((at) =>
        join(
          replaced(json, at, (holder, key) => Reflect.deleteProperty(holder, key)),
          attachment,
        ),
      ),
    },
    {
      weight: 2,
      arbitrary: fc
        .tuple(fc.string({ maxLength: 20 }), anyValue)
        .map(([key, value]) =>
          join(JSON.stringify({ ...(JSON.parse(json) as object), [key]: value }), attachment),
        ),
    },
    { weight: 2, arbitrary: fc.uint8Array({ maxLength: 300 }).map((bytes) => join(json, bytes)) },
    fc.nat({ max: frame.length }).map((length) => frame.slice(0, length)),
    fc
      .array(fc.tuple(fc.nat({ max: frame.length - 1 }), fc.nat({ max: 255 })), {
        minLength: 1,
        maxLength: 5,
      })
      .map((changes) => {
        const bytes = frame.slice();
        for (const [at, byte] of changes) bytes[at] = byte;
        return bytes;
      }),
    fc.uint8Array({ maxLength: 100 }),
    anyValue.map((value) => join(JSON.stringify(value), attachment)),
    fc.constantFrom(
      new Uint8Array(0),
      join("[".repeat(NESTING) + "]".repeat(NESTING), attachment),
      join(`${'{"v":'.repeat(NESTING)}1${"}".repeat(NESTING)}`, attachment),
      join(`{"__proto__":{"v":1},"constructor":1,${json.slice(1)}`, attachment),
      join(
        JSON.stringify(Object.fromEntries(Array.from({ length: 5_000 }, (_, i) => [`k${i}`, i]))),
        attachment,
      ),
    ),
  );
}
