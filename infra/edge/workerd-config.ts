// workerd's configuration for a self-hosted edge: its services, what each may access, and the one socket. Its schema, with
// explanations, is node_modules/workerd/workerd.capnp.

import { join } from "node:path";

/** A program's settings.json. */
export interface ProgramSettings {
  /** Of the Worker. Names the folder of its Durable Objects and is part of their ids. */
  readonly name: string;
  readonly compatibilityDate: string;
  readonly compatibilityFlags: readonly string[];
  /** Default variables of the edge. */
  readonly variables: Readonly<Record<string, string>>;
}

export interface WorkerdConfigOptions {
  /** Built by infra/edge/program.ts. */
  readonly programDir: string;
  readonly settings: ProgramSettings;
  /** Of the edge. The configuration contains their names only: workerd takes the values from its environment. */
  readonly variables: Readonly<Record<string, string>>;
  /** PEM of authorities to trust in addition to the public ones. */
  readonly authorities: readonly string[];
}

/** In the data folder, which is workerd's working directory. */
export const FOLDERS = { objects: "objects", files: "files", keys: "keys" } as const;
export const SOCKET = "workerd.sock";

const text = (value: string): string => JSON.stringify(value);
const list = (items: readonly string[]): string => `[${items.join(", ")}]`;

/** Origins of NATS servers as they appear in the URL of a WebSocket request. */
function natsOrigins(urls: string): string[] {
  const origins = urls.split(",").map((url) => URL.parse(url.trim().replace(/^ws/, "http"))?.origin);
  return origins.filter((origin) => origin !== undefined);
}

/** Of receivers of webhooks in the operator's own network. */
const webhookOrigins = (origins: string): string[] =>
  origins.split(",").flatMap((origin) => URL.parse(origin.trim())?.origin ?? []);

/** For `workerd serve`, in Cap'n Proto's text format. */
export function workerdConfig(options: WorkerdConfigOptions): string {
  const { programDir, settings, variables, authorities } = options;
  const {
    NATS_URL = "",
    OTEL_EXPORTER_OTLP_ENDPOINT: collector = "",
    WEBHOOK_ALLOW_ORIGINS = "",
  } = variables;
  const tracesUrl = URL.parse(`${collector.replace(/\/+$/, "")}/v1/traces`)?.href ?? "";
  const worker = (name: string): string =>
    `modules = [(name = ${text(name)}, esModule = embed ${text(join(programDir, name))})],
      compatibilityDate = ${text(settings.compatibilityDate)},
      compatibilityFlags = ${list(settings.compatibilityFlags.map(text))}`;
  const local = variables["WEBHOOK_ALLOW_LOOPBACK"] === "true" ? ["local"] : [];
  const entrypoint = (name: string): string => `(name = "bindings", entrypoint = ${text(name)})`;
  const network = (...allow: readonly string[]): string =>
    `(allow = ${list(allow.map(text))}, tlsOptions = .trust)`;
  const named = Object.keys(variables).map(
    (name) => `(name = ${text(name)}, fromEnvironment = ${text(name)})`,
  );

  return `using Workerd = import "/workerd/workerd.capnp";
const trust :Workerd.TlsOptions = (
  trustBrowserCas = true,
  trustedCertificates = ${list(authorities.map(text))});
const config :Workerd.Config = (
  sockets = [(name = "http", address = "unix:${SOCKET}", service = "edge")],
  services = [
    (name = "edge", worker = (
      ${worker("edge.js")},
      globalOutbound = ${entrypoint("Outbound")},
      durableObjectNamespaces = [(className = "Hub", uniqueKey = ${text(`${settings.name}-Hub`)}, enableSql = true)],
      durableObjectStorage = (localDisk = "objects"),
      bindings = [
        (name = "HUB", durableObjectNamespace = "Hub"),
        (name = "FILES", r2Bucket = ${entrypoint("Files")}),
        (name = "KEYS", kvNamespace = ${entrypoint("Keys")}),
        (name = "PAGES", service = ${entrypoint("Pages")}),
        ${named.join(",\n        ")}])),
    (name = "bindings", worker = (
      ${worker("bindings.js")},
      bindings = [
        (name = "FILES", service = "files"),
        (name = "KEYS", service = "keys"),
        (name = "PAGES", service = "pages"),
        (name = "PUBLIC", service = "public"),
        (name = "SETTINGS", service = "settings"),
        (name = "NATS_ORIGINS", json = ${text(JSON.stringify(natsOrigins(NATS_URL)))}),
        (name = "WEBHOOK_ORIGINS", json = ${text(JSON.stringify(webhookOrigins(WEBHOOK_ALLOW_ORIGINS)))}),
        (name = "TRACES_URL", text = ${text(tracesUrl)})])),
    (name = "objects", disk = (path = ${text(FOLDERS.objects)}, writable = true)),
    (name = "files", disk = (path = ${text(FOLDERS.files)}, writable = true)),
    (name = "keys", disk = (path = ${text(FOLDERS.keys)})),
    (name = "pages", disk = (path = ${text(join(programDir, "pages"))})),
    (name = "public", network = ${network("public", ...local)}),
    (name = "settings", network = ${network("public", "private")})]);
`;
}
