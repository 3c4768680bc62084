// The example answers of the OpenAPI document: `npx node infra/example-answers.ts` records them anew, from a running service with
// the bundled model.

import { mkdtempSync, rmSync, writeFileSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { type Stack, startStack } from "./stack/stack.ts";
import { REPO } from "./stack/paths.ts";

const FILE = join(REPO, "edge", "api-docs", "example-answers.json");
const EXAMPLE_ORIGIN = "https://vqd.example.com";
const EXAMPLE_RECEIVER = "https://example.com/hook";

/** What is longer is cut: base64, and lists. */
const MOST_CHARACTERS = 200;
const KEPT_CHARACTERS = 40;
const MOST_ENTRIES = 8;
const KEPT_ENTRIES = 3;
/** Of texts. */
const KEPT_LINES: Readonly<Record<string, number>> = { "text/plain": 6, "application/x-ndjson": 2 };
/** Of an event stream: its beginning, and its end. */
const KEPT_EVENTS = [3, 2] as const;

interface Answer {
  readonly operationId: string;
  readonly status: number;
  readonly type: string;
  readonly value: unknown;
  /** Whether something was cut. */
  readonly isShortened: boolean;
}
interface Sent {
  readonly method?: string;
  readonly json?: unknown;
  readonly form?: FormData;
}
interface Prediction {
  readonly id: string;
  readonly output: readonly string[];
  readonly urls: { readonly events: string; readonly stream: string };
}

/** A JSON value with what is long in it cut. */
function shortened(value: unknown): unknown {
  if (typeof value === "string") {
    return value.length > MOST_CHARACTERS && /^[\w+/=.-]+$/.test(value)
      ? value.slice(0, KEPT_CHARACTERS)
      : value;
  }
  if (Array.isArray(value)) {
    return (value.length > MOST_ENTRIES ? value.slice(0, KEPT_ENTRIES) : value).map(shortened);
  }
  if (typeof value !== "object" || value === null) return value;
  return Object.fromEntries(
    Object.entries(value).map(([name, inner]) => [
      name,
      // A document of its own.
      name === "openapi_schema" ? { openapi: (inner as { openapi: string }).openapi } : shortened(inner),
    ]),
  );
}

function shortenedEvents(stream: string): string {
  const [first, last] = KEPT_EVENTS;
  const events = stream
    .trim()
    .split("\n\n")
    .map((event) =>
      event.replace(
        /^data: (\{.*\})$/m,
        (_, json: string) => `data: ${JSON.stringify(shortened(JSON.parse(json)))}`,
      ),
    );
  const kept = events.length > first + last ? [...events.slice(0, first), ...events.slice(-last)] : events;
  return `${kept.join("\n\n")}\n\n`;
}

/** The answers to a request of every operation that answers with a text. */
async function record({ url, apiKey }: Stack, receiver: string): Promise<Answer[]> {
  const answers: Answer[] = [];
  const ask = async <T>(operationId: string, path: string, { method, json, form }: Sent = {}): Promise<T> => {
    const response = await fetch(new URL(path, url), {
      method: method ?? (json === undefined && form === undefined ? "GET" : "POST"),
      headers: {
        authorization: `Bearer ${apiKey}`,
        ...(json === undefined ? {} : { "content-type": "application/json" }),
      },
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(form === undefined ? {} : { body: form }),
    });
    const text = await response.text();
    if (!response.ok) throw new Error(`${operationId}: ${response.status} ${text}`);
    const [type = ""] = (response.headers.get("content-type") ?? "").split(";");
    const shown = text.replaceAll(url, EXAMPLE_ORIGIN).replaceAll(receiver, EXAMPLE_RECEIVER);
    const whole: unknown = type === "application/json" ? JSON.parse(shown) : shown;
    let value = shortened(whole);
    if (type === "text/event-stream") value = shortenedEvents(shown);
    if (type in KEPT_LINES) value = shown.split("\n").slice(0, KEPT_LINES[type]).join("\n");
    const isShortened = JSON.stringify(value) !== JSON.stringify(whole);
    answers.push({ operationId, status: response.status, type, value, isShortened });
    return (type === "application/json" ? JSON.parse(text) : text) as T;
  };
  const post = { method: "POST" };
  const pathOf = (link: string): string => new URL(link).pathname;

  const input = { prompt: "fox, flat style", preset: "draft", seed: 7 };
  const made = await ask<Prediction>("createPrediction", "/v1/predictions", { json: { input } });
  const path = `/v1/predictions/${made.id}`;
  // To its end.
  await ask("predictionEvents", `${path}/events`);
  await ask("streamPrediction", pathOf(made.urls.stream));
  const { output } = await ask<Prediction>("getPrediction", path);
  const { url: shared } = await ask<{ url: string }>("sharePrediction", `${path}/share`, post);
  await ask("getShared", pathOf(shared));
  await ask("getReceipt", `${path}/receipt`);
  await ask("getReceiptKeys", "/.well-known/vqd-receipts.json");

  const hook = { webhook: receiver, webhook_events_filter: ["completed"] };
  const own = "/v1/predictions/order-1024.cover";
  await ask("putPrediction", own, { method: "PUT", json: { input, ...hook } });
  await ask("cancelPrediction", `${own}/cancel`, post);
  await ask("redeliverWebhook", `${own}/webhook-attempts/redeliver`, post);
  // The receiver has both when the trial, which is sent after them, is answered.
  await ask("testWebhook", "/v1/webhooks/default/test", { json: { url: receiver } });
  await ask("getWebhookAttempts", `${own}/webhook-attempts`);
  for (const [operationId, kind] of [
    ["createModelPrediction", "models"],
    ["createDeploymentPrediction", "deployments"],
  ]) {
    const { id } = await ask<Prediction>(operationId ?? "", `/v1/${kind}/vqd/scenes/predictions`, {
      json: { input },
    });
    await fetch(new URL(`/v1/predictions/${id}`, url), {
      method: "DELETE",
      headers: { authorization: `Bearer ${apiKey}` },
    });
  }
  await ask("listPredictions", "/v1/predictions?limit=1");

  const image = new Blob([await (await fetch(output[0] ?? "")).arrayBuffer()]);
  const form = new FormData();
  form.set("content", image, "photo.png");
  const { id: file } = await ask<{ id: string }>("createFile", "/v1/files", { form });
  await ask("listFiles", "/v1/files?limit=1");
  await ask("getUpload", `/v1/files/${file}`);

  const draft = { prompt: "fox, flat style", quality: "low" };
  await ask("generateImages", "/v1/images/generations", { json: draft });
  await ask("generateImages", "/v1/images/generations", {
    json: { ...draft, stream: true, partial_images: 1 },
  });
  for (const operationId of ["editImages", "createVariation"]) {
    const fields = new FormData();
    fields.set("image", image, "photo.png");
    for (const [name, value] of Object.entries(draft)) fields.set(name, value);
    const target = operationId === "editImages" ? "edits" : "variations";
    await ask(operationId, `/v1/images/${target}`, { form: fields });
    if (target === "variations") continue;
    fields.set("stream", "true");
    await ask(operationId, `/v1/images/${target}`, { form: fields });
  }

  await ask("getWebhookSecret", "/v1/webhooks/default/secret");
  await ask("rotateWebhookSecret", "/v1/webhooks/default/secret/rotate", post);
  await ask("getUsage", "/v1/usage");
  await ask("exportUsage", "/v1/usage/export");
  await ask("getAudit", "/v1/audit");
  const model = "/v1/models/vqd/scenes";
  await ask("listModels", "/v1/models");
  await ask("retrieveModel", "/v1/models/vqd%2Fscenes");
  const { latest_version: version } = await ask<{ latest_version: { id: string } }>("getModel", model);
  await ask("getPalette", `${model}/palette`);
  await ask("getVocabulary", `${model}/vocabulary`);
  await ask("listVersions", `${model}/versions`);
  await ask("getVersion", `${model}/versions/${version.id}`);
  for (const [operationId, at] of Object.entries({
    listDeployments: "/v1/deployments",
    getDeployment: "/v1/deployments/vqd/scenes",
    listHardware: "/v1/hardware",
    listCollections: "/v1/collections",
    getHealth: "/healthz",
    getStatus: "/v1/status",
    getQueue: "/v1/queue",
    getAccount: "/v1/account",
    getMetrics: "/metrics",
  })) {
    await ask(operationId, at);
  }
  return answers;
}

/** No bundled model is conditioned by class: this is what one of ImageNet's would answer. */
const CLASSES: Answer = {
  operationId: "getClasses",
  status: 200,
  type: "application/json",
  value: {
    model: "vqd/imagenet",
    version: "0c".repeat(32),
    num_classes: 1_000,
    id2label: { 0: "tench, Tinca tinca", 1: "goldfish, Carassius auratus" },
  },
  isShortened: true,
};

/** Signs nothing, and says so. */
const EXAMPLE_SECRET = `whsec_${btoa("example of a signing secret")}`;
const secretsReplaced = (text: string): string => text.replaceAll(/whsec_[\w+/=]+/g, EXAMPLE_SECRET);

if (import.meta.main) {
  const data = mkdtempSync(join(tmpdir(), "vqd-answers-"));
  const receiver = createServer((request, response) => {
    request.resume().on("end", () => response.writeHead(204).end());
  });
  await new Promise<void>((resolve) => receiver.listen(0, "127.0.0.1", resolve));
  const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hook`;
  try {
    await using stack = await startStack({
      workers: 1,
      data,
      workerEnv: { VQD_CACHE: join(REPO, ".vqd", "cache") },
      edgeEnv: { WEBHOOK_ALLOW_LOOPBACK: "true" },
    });
    const answers = [...(await record(stack, hook)), CLASSES];
    writeFileSync(FILE, secretsReplaced(`${JSON.stringify(answers, null, 2)}\n`));
  } finally {
    receiver.close();
    rmSync(data, { recursive: true, force: true });
  }
}
