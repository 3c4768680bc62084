// The edge's configuration: the variables documented in wrangler.toml, validated once per set of bindings.

import { VqdError } from "@vqd/shared/errors.ts";
import { MAX_SHARDS } from "@vqd/shared/ids.ts";
import type { LogLevel } from "@vqd/shared/log.ts";
import { modelNameSchema } from "@vqd/shared/model.ts";
import { z } from "zod";
import { pkcs8Of } from "./receipts/key.ts";
import { decodeHex } from "./util/bytes.ts";
import type { UrlRules } from "./util/public-url.ts";
import type { RateLimits } from "./prediction/rate-state.ts";

/** The variables as bound; each is documented in wrangler.toml. */
export interface Variables {
  readonly NATS_URL: string;
  readonly NATS_USER?: string;
  readonly NATS_PASSWORD?: string;
  readonly NATS_CREDS?: string;
  readonly API_KEYS?: string;
  readonly DEFAULT_MODEL?: string;
  readonly MODEL_ALIASES?: string;
  readonly HUB_SHARDS?: string;
  readonly HUB_LOCATION?: string;
  readonly PUBLIC_URL?: string;
  readonly QUEUE_TIMEOUT_SECONDS?: string;
  readonly MAX_WAIT_SECONDS?: string;
  readonly RUN_TIMEOUT_SECONDS?: string;
  readonly FILE_RETENTION_SECONDS?: string;
  readonly RECORD_RETENTION_SECONDS?: string;
  readonly ARCHIVE_RETENTION_SECONDS?: string;
  readonly STEP_RETENTION_SECONDS?: string;
  readonly USAGE_RETENTION_SECONDS?: string;
  readonly AUDIT_RETENTION_SECONDS?: string;
  readonly RATE_LIMIT_PER_MINUTE?: string;
  readonly LIVE_LIMIT?: string;
  readonly WORK_LIMIT?: string;
  readonly DISPATCH_AHEAD?: string;
  readonly RECORD_LIMIT_MB?: string;
  readonly FILE_LIMIT_MB?: string;
  readonly READ_LIMIT_PER_MINUTE?: string;
  readonly REDELIVERY_LIMIT_PER_MINUTE?: string;
  readonly CORS_ORIGINS?: string;
  readonly WEBHOOK_RETRY_SECONDS?: string;
  readonly WEBHOOK_ALLOW_LOOPBACK?: string;
  readonly WEBHOOK_ALLOW_ORIGINS?: string;
  readonly EMBED_SETTINGS?: string;
  readonly LOG_LEVEL?: string;
  readonly RECEIPT_KEY?: string;
  readonly OTEL_EXPORTER_OTLP_ENDPOINT?: string;
  readonly OTEL_EXPORTER_OTLP_HEADERS?: string;
  readonly OTEL_TRACES_SAMPLER_ARG?: string;
}

export interface ConfiguredKey {
  /** Owner of the predictions created with the key. */
  readonly name: string;
  /** SHA-256 of the key. */
  readonly digest: Uint8Array<ArrayBuffer>;
}

const LOG_LEVELS = ["debug", "info", "warn", "error"] as const satisfies LogLevel[];

const emptyAsMissing = (value: unknown): unknown => (value === "" ? undefined : value);

const inMs = (seconds: number): number => seconds * 1_000;
const wholeSeconds = z.coerce.number().int().min(1);

/** Parses seconds into ms; `fallback`, in seconds, stands in for a missing or empty variable. */
const secondsAsMs = (fallback: number) =>
  z.preprocess(emptyAsMissing, wholeSeconds.default(fallback).transform(inMs));

/** The same, undefined for a missing or empty variable. */
const optionalSecondsAsMs = z.preprocess(emptyAsMissing, wholeSeconds.transform(inMs).optional());

const countOf = (fallback: number) =>
  z.preprocess(emptyAsMissing, z.coerce.number().int().min(1).max(1_000_000).default(fallback));

/** Parses MB into bytes. */
const megabytes = (fallback: number) =>
  z.preprocess(
    emptyAsMissing,
    z.coerce
      .number()
      .min(1)
      .max(1_000_000_000)
      .default(fallback)
      .transform((mb) => mb * 1_000_000),
  );

const apiKeySchema = z
  .string()
  .trim()
  .regex(/^[\w.-]{1,64}:[0-9a-f]{64}$/, "must be comma-separated name:sha256 pairs")
  .transform((pair): ConfiguredKey => {
    const [name = "", hex = ""] = pair.split(":");
    return { name, digest: decodeHex(hex) };
  });

/** Location hints of Durable Objects. */
const LOCATIONS = [
  "wnam",
  "enam",
  "sam",
  "weur",
  "eeur",
  "apac",
  "oc",
  "afr",
  "me",
] as const satisfies DurableObjectLocationHint[];

const [MINUTE, HOUR] = [60, 3_600];
/** Ten attempts over about three days, so that a receiver may be down for a weekend. */
const WEBHOOK_RETRY_SECONDS = [
  0,
  5,
  5 * MINUTE,
  30 * MINUTE,
  2 * HOUR,
  5 * HOUR,
  10 * HOUR,
  14 * HOUR,
  20 * HOUR,
  24 * HOUR,
];

const listOf = (list: string): string[] =>
  list
    .split(",")
    .map((item) => item.trim())
    .filter((item) => item !== "");
const isOrigin = (text: string): boolean => URL.parse(text)?.origin === text;

const WEBSOCKET_SCHEMES = new Set(["ws:", "wss:"]);
const NATS_CREDENTIALS = /-BEGIN NATS USER JWT-[^]+-BEGIN USER NKEY SEED-/;

/** Any name that a client may have for a model, and what it stands for: `owner/name`, `owner/name:version` or a version. */
const ALIAS = /^[^=,\s]{1,200}=[a-z0-9][\w:/-]{0,199}$/;

const aliasOf = (pair: string): [string, string] => {
  const at = pair.indexOf("=");
  return [pair.slice(0, at), pair.slice(at + 1)];
};

export const configSchema = z.object({
  NATS_URL: z
    .string()
    .transform((list) => list.split(",").map((url) => url.trim()))
    .refine(
      (urls) => urls.every((url) => WEBSOCKET_SCHEMES.has(URL.parse(url)?.protocol ?? "")),
      "must be comma-separated ws:// or wss:// URLs",
    ),
  NATS_USER: z.preprocess(emptyAsMissing, z.string().optional()),
  NATS_PASSWORD: z.preprocess(emptyAsMissing, z.string().optional()),
  NATS_CREDS: z.preprocess(
    emptyAsMissing,
    z
      .string()
      .regex(
        NATS_CREDENTIALS,
        "must be the text of a credentials file, with a NATS USER JWT and a USER NKEY SEED",
      )
      .optional(),
  ),
  API_KEYS: z
    .string()
    .default("")
    .transform((list) => list.split(",").filter((pair) => pair.trim() !== ""))
    .pipe(z.array(apiKeySchema)),
  DEFAULT_MODEL: z.preprocess(emptyAsMissing, modelNameSchema.optional()),
  MODEL_ALIASES: z
    .string()
    .default("")
    .transform(listOf)
    .refine(
      (pairs) => pairs.every((pair) => ALIAS.test(pair)),
      "must be comma-separated alias=owner/name pairs, such as dall-e-3=vqd/scenes",
    )
    .transform((pairs) => new Map(pairs.map(aliasOf))),
  HUB_LOCATION: z.preprocess(emptyAsMissing, z.enum(LOCATIONS).optional()),
  HUB_SHARDS: z.preprocess(emptyAsMissing, z.coerce.number().int().min(1).max(MAX_SHARDS).default(1)),
  PUBLIC_URL: z.preprocess(emptyAsMissing, z.url({ protocol: /^https?$/ }).optional()),
  QUEUE_TIMEOUT_SECONDS: secondsAsMs(120),
  MAX_WAIT_SECONDS: optionalSecondsAsMs,
  RUN_TIMEOUT_SECONDS: secondsAsMs(600),
  FILE_RETENTION_SECONDS: secondsAsMs(86_400),
  RECORD_RETENTION_SECONDS: secondsAsMs(604_800),
  ARCHIVE_RETENTION_SECONDS: optionalSecondsAsMs,
  STEP_RETENTION_SECONDS: secondsAsMs(900),
  USAGE_RETENTION_SECONDS: secondsAsMs(2_678_400),
  AUDIT_RETENTION_SECONDS: secondsAsMs(7_776_000),
  RATE_LIMIT_PER_MINUTE: countOf(600),
  LIVE_LIMIT: countOf(100),
  WORK_LIMIT: z.preprocess(emptyAsMissing, z.coerce.number().int().min(1).max(1e12).default(20_000)),
  DISPATCH_AHEAD: countOf(4),
  RECORD_LIMIT_MB: megabytes(1_000),
  FILE_LIMIT_MB: megabytes(20_000),
  READ_LIMIT_PER_MINUTE: countOf(12_000),
  REDELIVERY_LIMIT_PER_MINUTE: countOf(60),
  CORS_ORIGINS: z
    .string()
    .default("*")
    .transform(listOf)
    .refine(
      (origins) => origins.every((origin) => origin === "*" || isOrigin(origin)),
      "must be * or comma-separated origins such as https://example.com",
    ),
  WEBHOOK_RETRY_SECONDS: z
    .string()
    .default("")
    .transform((list) => (list.trim() === "" ? WEBHOOK_RETRY_SECONDS : list.split(",").map(Number)))
    .refine(
      (delays) => delays.length <= 50 && delays.every((seconds) => seconds >= 0 && seconds <= 604_800),
      "must be at most 50 comma-separated numbers of seconds, each from 0 to 604800",
    )
    .transform((delays) => delays.map((seconds) => seconds * 1_000)),
  WEBHOOK_ALLOW_LOOPBACK: z.preprocess(emptyAsMissing, z.enum(["true", "false"]).default("false")),
  WEBHOOK_ALLOW_ORIGINS: z
    .string()
    .default("")
    .transform(listOf)
    .refine(
      (origins) => origins.every((origin) => /^https?:/.test(origin) && isOrigin(origin)),
      "must be comma-separated origins such as http://hooks.internal:8080",
    ),
  EMBED_SETTINGS: z.preprocess(emptyAsMissing, z.enum(["true", "false"]).default("true")),
  LOG_LEVEL: z.preprocess(emptyAsMissing, z.enum(LOG_LEVELS).default("info")),
  RECEIPT_KEY: z.preprocess(
    emptyAsMissing,
    z
      .string()
      .refine(
        (pem) => pkcs8Of(pem) !== undefined,
        "must be an Ed25519 key in PEM, as openssl genpkey -algorithm ed25519 makes it",
      )
      .transform(pkcs8Of)
      .optional(),
  ),
  OTEL_EXPORTER_OTLP_ENDPOINT: z.preprocess(emptyAsMissing, z.url({ protocol: /^https?$/ }).optional()),
  OTEL_EXPORTER_OTLP_HEADERS: z
    .string()
    .default("")
    .refine(
      (list) => list.trim() === "" || list.split(",").every((pair) => /^[^=\s]+=.+$/.test(pair.trim())),
      "must be comma-separated name=value pairs",
    )
    .transform((list) => list.split(",").filter((pair) => pair.trim() !== ""))
    .transform((pairs) => Object.fromEntries(pairs.map(headerOf))),
  OTEL_TRACES_SAMPLER_ARG: z.preprocess(emptyAsMissing, z.coerce.number().min(0).max(1).default(1)),
});

/** In OpenTelemetry's format, where the value is URL-encoded. */
function headerOf(pair: string): [string, string] {
  const at = pair.indexOf("=");
  return [pair.slice(0, at).trim(), decodeURIComponent(pair.slice(at + 1).trim())];
}

export interface TracingOptions {
  /** Base URL of the collector; spans go to its /v1/traces. Undefined turns tracing off. */
  readonly endpoint: string | undefined;
  /** Headers for the collector, typically its key. */
  readonly headers: Readonly<Record<string, string>>;
  /** Fraction of the traces starting here that is sampled, 0 to 1. */
  readonly ratio: number;
}

export interface Config {
  /** Servers of one cluster. */
  readonly natsUrls: readonly string[];
  readonly natsUser: string | undefined;
  readonly natsPassword: string | undefined;
  /** Text of a credentials file: JWT and seed. */
  readonly natsCredentials: string | undefined;
  readonly apiKeys: readonly ConfiguredKey[];
  readonly defaultModel: string | undefined;
  /** Other names of models, with what they stand for. */
  readonly modelAliases: ReadonlyMap<string, string>;
  readonly hubShards: number;
  /** Where hubs that do not exist yet are created; undefined: near whoever asks first. */
  readonly hubLocation: (typeof LOCATIONS)[number] | undefined;
  readonly publicUrl: string | undefined;
  readonly queueTimeoutMs: number;
  /** A prediction that would wait longer than this to start is refused. */
  readonly maxWaitMs: number;
  readonly runTimeoutMs: number;
  readonly fileRetentionMs: number;
  readonly recordRetentionMs: number;
  /** How long records can be read in all, as archives after `recordRetentionMs`; undefined: none are made. */
  readonly archiveRetentionMs: number | undefined;
  readonly stepRetentionMs: number;
  /** How long lines of usage are kept; what they add up to by day is kept longer. */
  readonly usageRetentionMs: number;
  readonly auditRetentionMs: number;
  /** For keys without limits of their own. */
  readonly rateLimits: RateLimits;
  /** Most image-steps that an owner's live predictions may have. */
  readonly workLimit: number;
  /** Jobs of a model and priority that wait in the workers' queue when few are running. */
  readonly dispatchAhead: number;
  /** Most bytes of an owner's records and images that are stored at once. */
  readonly recordLimitBytes: number;
  readonly fileLimitBytes: number;
  readonly readsPerMinute: number;
  readonly redeliveriesPerMinute: number;
  /** Origins whose pages may call the API; "*" allows any. */
  readonly corsOrigins: readonly string[];
  /** Delay before each attempt to deliver a webhook, the first included. */
  readonly webhookDelaysMs: readonly number[];
  /** Which URLs webhooks may have. */
  readonly webhookUrls: UrlRules;
  /** Whether PNG files hold the settings of their images, prompts included, unless a request says otherwise. */
  readonly embedSettings: boolean;
  /** The Ed25519 key that signs receipts, as PKCS #8; undefined if none are signed. */
  readonly receiptKey: Uint8Array<ArrayBuffer> | undefined;
  readonly logLevel: LogLevel;
  readonly tracing: TracingOptions;
}

const invalidSettings = (reasons: readonly string[]): VqdError =>
  new VqdError("not_configured", `the edge's settings are invalid (${reasons.join("; ")})`);

function parseConfig(env: Variables): Config {
  const parsed = configSchema.safeParse(env);
  if (!parsed.success) {
    // Only names and reasons: a value may be a secret.
    const reasons = parsed.error.issues.map(({ path, message }) => `${String(path[0])}: ${message}`);
    throw invalidSettings(reasons);
  }
  const vars = parsed.data;
  const recordRetentionMs = Math.max(vars.RECORD_RETENTION_SECONDS, vars.FILE_RETENTION_SECONDS);
  const archiveRetentionMs = vars.ARCHIVE_RETENTION_SECONDS;
  if (archiveRetentionMs !== undefined && archiveRetentionMs <= recordRetentionMs) {
    const reason = "must be longer than RECORD_RETENTION_SECONDS and FILE_RETENTION_SECONDS, or empty";
    throw invalidSettings([`ARCHIVE_RETENTION_SECONDS: ${reason}`]);
  }
  return {
    natsUrls: vars.NATS_URL,
    natsUser: vars.NATS_USER,
    natsPassword: vars.NATS_PASSWORD,
    natsCredentials: vars.NATS_CREDS,
    apiKeys: vars.API_KEYS,
    defaultModel: vars.DEFAULT_MODEL,
    modelAliases: vars.MODEL_ALIASES,
    hubLocation: vars.HUB_LOCATION,
    hubShards: vars.HUB_SHARDS,
    publicUrl: vars.PUBLIC_URL?.replace(/\/+$/, ""),
    queueTimeoutMs: vars.QUEUE_TIMEOUT_SECONDS,
    maxWaitMs: vars.MAX_WAIT_SECONDS ?? vars.QUEUE_TIMEOUT_SECONDS,
    runTimeoutMs: vars.RUN_TIMEOUT_SECONDS,
    fileRetentionMs: vars.FILE_RETENTION_SECONDS,
    recordRetentionMs,
    archiveRetentionMs,
    stepRetentionMs: vars.STEP_RETENTION_SECONDS,
    usageRetentionMs: vars.USAGE_RETENTION_SECONDS,
    auditRetentionMs: vars.AUDIT_RETENTION_SECONDS,
    rateLimits: { perMinute: vars.RATE_LIMIT_PER_MINUTE, live: vars.LIVE_LIMIT },
    workLimit: vars.WORK_LIMIT,
    dispatchAhead: vars.DISPATCH_AHEAD,
    recordLimitBytes: vars.RECORD_LIMIT_MB,
    fileLimitBytes: vars.FILE_LIMIT_MB,
    readsPerMinute: vars.READ_LIMIT_PER_MINUTE,
    redeliveriesPerMinute: vars.REDELIVERY_LIMIT_PER_MINUTE,
    corsOrigins: vars.CORS_ORIGINS,
    webhookDelaysMs: vars.WEBHOOK_RETRY_SECONDS,
    webhookUrls: {
      allowLoopback: vars.WEBHOOK_ALLOW_LOOPBACK === "true",
      allowOrigins: vars.WEBHOOK_ALLOW_ORIGINS,
    },
    embedSettings: vars.EMBED_SETTINGS === "true",
    receiptKey: vars.RECEIPT_KEY,
    logLevel: vars.LOG_LEVEL,
    tracing: {
      endpoint: vars.OTEL_EXPORTER_OTLP_ENDPOINT?.replace(/\/+$/, ""),
      headers: vars.OTEL_EXPORTER_OTLP_HEADERS,
      ratio: vars.OTEL_TRACES_SAMPLER_ARG,
    },
  };
}

const parsedConfigs = new WeakMap<Variables, Config>();

/** The configuration in `env`. Throws a VqdError (not_configured) naming the invalid variables. */
export function configOf(env: Variables): Config {
  const known = parsedConfigs.get(env);
  if (known !== undefined) return known;
  const config = parseConfig(env);
  parsedConfigs.set(env, config);
  return config;
}
