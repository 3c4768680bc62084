// What a run has used, as the service says: by owner and day, and line by line.

import { outOfBounds } from "@vqd/shared/out-of-bounds.ts";
import { type ApiClient, request } from "../integration/support/client.ts";

export interface Used {
  readonly predictions: number;
  readonly images: number;
  readonly steps: number;
}

export interface UsageReport {
  /** Added up over the owners and their days. */
  readonly byDay: Used;
  /** The same of the export's lines, and the predictions that these are of. */
  readonly byLine: Used;
  readonly ids: readonly string[];
}

const NOTHING: Used = { predictions: 0, images: 0, steps: 0 };
const sum = (a: Used, b: Used): Used => ({
  predictions: a.predictions + b.predictions,
  images: a.images + b.images,
  steps: a.steps + b.steps,
});

async function answer(client: ApiClient, path: string): Promise<Response> {
  const response = await request(client, path);
  if (!response.ok) throw new Error(`${path} answered ${response.status}: ${await response.text()}`);
  return response;
}

/** `clients` are of different owners. */
export async function readUsage(clients: readonly ApiClient[]): Promise<UsageReport> {
  let byDay = NOTHING;
  for (const client of clients) {
    // A run may begin before midnight.
    const from = new Date(Date.now() - 86_400_000).toISOString().slice(0, 10);
    const { data } = (await (await answer(client, `/v1/usage?from=${from}`)).json()) as { data: Used[] };
    byDay = data.reduce(sum, byDay);
  }
  let byLine = NOTHING;
  const ids: string[] = [];
  const [biller = outOfBounds()] = clients;
  for (let path = "/v1/usage/export?limit=10"; ;) {
    const page = await answer(biller, path);
    const lines = (await page.text()).split("\n").slice(0, -1);
    if (lines.length === 0) break;
    for (const line of lines) {
      const used = JSON.parse(line) as { id: string; images: number; steps: number };
      ids.push(used.id);
      byLine = sum(byLine, { ...used, predictions: 1 });
    }
    const { pathname, search } = new URL(/<(.*)>/.exec(page.headers.get("link") ?? "")?.[1] ?? "");
    path = pathname + search;
  }
  return { byDay, byLine, ids };
}
