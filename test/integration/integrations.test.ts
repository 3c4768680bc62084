// Requests that other applications send, recorded from their sources, replayed; and the answers read as they read them.

import { execFile } from "node:child_process";
import { once } from "node:events";
import { mkdtempSync, readFileSync, rmSync } from "node:fs";
import { createServer } from "node:http";
import type { AddressInfo } from "node:net";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import sharp from "sharp";
import { afterAll, beforeAll, expect, it } from "vitest";
import { parse } from "yaml";
import { REPO } from "../../infra/stack/paths.ts";
import type { PredictionBody } from "./support/client.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

interface Recorded {
  readonly app: string;
  readonly path: string;
  readonly headers?: Record<string, string>;
  readonly body?: Record<string, unknown>;
  readonly form?: Record<string, string>;
  /** Field of a form that has an image. */
  readonly file?: string;
  /** Where the application finds the images. */
  readonly reads: "b64_json" | "url" | "output" | "webhook";
  /** Width and height of the images. */
  readonly size: number;
  readonly images?: number;
}
const { requests } = JSON.parse(
  readFileSync(join(REPO, "test", "fixtures", "integrations", "requests.json"), "utf8"),
) as { requests: Recorded[] };

const run = promisify(execFile);
const MODEL = "vqd/checkpoint";
let test: TestStack;
/** What the webhook's receiver has got next. */
let received = Promise.withResolvers<PredictionBody>();
const receiver = createServer((incoming, response) => {
  const chunks: Buffer[] = [];
  incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
  incoming.on("end", () => {
    response.writeHead(200).end("{}");
    received.resolve(JSON.parse(Buffer.concat(chunks).toString()) as PredictionBody);
  });
});
beforeAll(async () => {
  receiver.listen(0, "127.0.0.1");
  await once(receiver, "listening");
  const MODEL_ALIASES = ["gpt-image-1", "dall-e-3", "dall-e-2"].map((name) => `${name}=${MODEL}`).join();
  test = await startTestStack({
    model: TINY_MODEL,
    edgeEnv: { MODEL_ALIASES, WEBHOOK_ALLOW_LOOPBACK: "true" },
  });
});
afterAll(async () => {
  receiver.close();
  await test.stop();
});

async function send({ path, headers, body, form, file }: Recorded): Promise<Response> {
  const authorization = `Bearer ${test.apiKey}`;
  if (form === undefined) {
    const hook = `http://127.0.0.1:${(receiver.address() as AddressInfo).port}/hooks/catch/1/a/`;
    return fetch(test.url + path, {
      method: "POST",
      headers: { "content-type": "application/json", ...headers, authorization },
      body: JSON.stringify(body).replace('"HOOK"', JSON.stringify(hook)),
    });
  }
  const data = new FormData();
  for (const [name, text] of Object.entries(form)) data.append(name, text);
  const image = await sharp({ create: { width: 16, height: 16, channels: 3, background: "red" } })
    .png()
    .toBuffer();
  data.append(file ?? "", new Blob([image], { type: "image/png" }), "image.png");
  return fetch(test.url + path, { method: "POST", headers: { authorization }, body: data });
}

/** The images, found as the application finds them. */
async function imagesOf({ reads }: Recorded, answer: unknown): Promise<Uint8Array[]> {
  const download = async (url: string | undefined) =>
    new Uint8Array(await (await fetch(url ?? "")).arrayBuffer());
  if (reads === "output" || reads === "webhook") {
    const prediction = reads === "output" ? (answer as PredictionBody) : await received.promise;
    expect(prediction.status).toBe("succeeded");
    return Promise.all((prediction.output ?? []).map(download));
  }
  const { data } = answer as { data: { b64_json?: string; url?: string }[] };
  for (const one of data) expect(Object.keys(one)).toEqual([reads]);
  if (reads === "url") return Promise.all(data.map(({ url }) => download(url)));
  return data.map(({ b64_json: image = "" }) => Buffer.from(image, "base64"));
}

it.each(requests)("$app", async (recorded) => {
  received = Promise.withResolvers();
  const response = await send(recorded);
  const answer: unknown = await response.json();
  expect([response.ok, answer]).toEqual([true, answer]);
  const images = await imagesOf(recorded, answer);
  expect(images).toHaveLength(recorded.images ?? 1);
  for (const image of images) {
    expect(await sharp(image).metadata()).toMatchObject({ width: recorded.size, height: recorded.size });
  }
});

it("GitHub Actions' step, as documented", async (context) => {
  const curl = await run("curl", ["--version"]).catch(() => undefined);
  if (curl === undefined) return context.skip("no curl");
  const page = readFileSync(join(REPO, "docs", "integrations", "github-actions.md"), "utf8");
  const workflow = parse(/```yaml\n(.*?)```/s.exec(page)?.[1] ?? "") as {
    jobs: { draw: { steps: { run?: string }[] } };
  };
  const script = workflow.jobs.draw.steps[0]?.run ?? "";
  const cwd = mkdtempSync(join(tmpdir(), "vqd-actions-"));
  try {
    const env = { ...process.env, IMAGES_URL: test.url, IMAGES_KEY: test.apiKey };
    await run("bash", ["-e", "-c", script], { cwd, env });
    expect(await sharp(join(cwd, "image.png")).metadata()).toMatchObject({ format: "png", width: 16 });
    const refused = run("bash", ["-e", "-c", script], { cwd, env: { ...env, IMAGES_KEY: "wrong" } });
    await expect(refused).rejects.toMatchObject({ code: 22 });
  } finally {
    rmSync(cwd, { recursive: true });
  }
});
