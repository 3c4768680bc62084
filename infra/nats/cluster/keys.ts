// The secret keys of a cluster, in one file of the operator's folder.

import { existsSync, readFileSync } from "node:fs";
import { createAccount, createOperator, fromSeed, type KeyPair } from "@nats-io/nkeys";
import { z } from "zod";
import { MODEL_KEY_PATTERN } from "@vqd/shared/model.ts";
import { writePrivateFile } from "../../stack/files.ts";

const seed = z.string().startsWith("S");

const keysSchema = z.strictObject({
  /** Unix time in s. */
  createdAt: z.int(),
  operator: seed,
  systemAccount: seed,
  /** The account of the streams. */
  account: seed,
  /**
   * What signs users of the account of the streams. 0.1.0 had the others there, too: those of workers and leaf nodes are
   * kept, for any model, until they are retired.
   */
  roles: z.strictObject({
    edge: seed,
    operator: seed,
    worker: seed.optional(),
    leaf: seed.optional(),
    monitor: seed.optional(),
  }),
  monitor: z.strictObject({ account: seed, role: seed }).optional(),
  /** The account of each set of models, and what signs its users. */
  models: z
    .array(
      z.strictObject({
        keys: z.array(z.string().regex(MODEL_KEY_PATTERN)).min(1),
        account: seed,
        worker: seed,
        leaf: seed,
      }),
    )
    .default([]),
  /** Users' public keys, each with the Unix time in s up to which what was issued to it is refused. */
  revocations: z.record(z.string(), z.int()),
});
type StoredKeys = z.infer<typeof keysSchema>;
export type Keys = StoredKeys & { monitor: NonNullable<StoredKeys["monitor"]> };
export type ModelsAccount = Keys["models"][number];

export const nowSeconds = (): number => Math.floor(Date.now() / 1_000);
const secret = (pair: KeyPair): string => Buffer.from(pair.getSeed()).toString();
export const newSeed = (): string => secret(createAccount());
export const pairOf = (stored: string): KeyPair => fromSeed(Buffer.from(stored));
export const publicKeyOf = (stored: string): string => pairOf(stored).getPublicKey();

/** The keys at `path`, created if there are none, and brought up to this release. */
export function openKeys(path: string): Keys {
  if (!existsSync(path)) {
    const keys: StoredKeys = {
      createdAt: nowSeconds(),
      operator: secret(createOperator()),
      systemAccount: newSeed(),
      account: newSeed(),
      roles: { edge: newSeed(), operator: newSeed() },
      models: [],
      revocations: {},
    };
    saveKeys(path, keys);
  }
  const parsed = keysSchema.safeParse(JSON.parse(readFileSync(path, "utf8")));
  if (!parsed.success) throw new Error(`${path} is damaged: ${z.prettifyError(parsed.error)}`);
  const { roles, monitor } = parsed.data;
  if (monitor !== undefined) return { ...parsed.data, monitor };
  // Nothing that runs depends on a monitor: its credentials move to the account of its own at once.
  const { monitor: _, ...others } = roles;
  const keys = { ...parsed.data, roles: others, monitor: { account: newSeed(), role: newSeed() } };
  saveKeys(path, keys);
  return keys;
}

export function saveKeys(path: string, keys: StoredKeys): void {
  writePrivateFile(path, `${JSON.stringify(keys, undefined, 2)}\n`);
}
