// The stack of the abuse bench: an honest tenant and its neighbours in one hub, and receivers of their webhooks.

import { createHash, randomBytes } from "node:crypto";
import { fork } from "node:child_process";
import { once } from "node:events";
import { readdirSync } from "node:fs";
import { createServer, type Server } from "node:http";
import type { AddressInfo } from "node:net";
import { setPriority } from "node:os";
import { join } from "node:path";
import { REPO } from "../../../infra/stack/paths.ts";
import { startStack } from "../../../infra/stack/stack.ts";
import type { ApiClient } from "../../integration/support/client.ts";
import { TINY_MODEL } from "../../integration/support/stack.ts";
import { workFolder } from "../interrupt.ts";
import type { Means } from "./attacks.ts";

const KEY_BYTES = 24;
/** A job of several images then shares its passes with others. */
const SLOTS = 4;
const HANGING_PORTS = 4;
const WORKER_NICE = 10;

/** Receives the honest tenant's webhooks. */
export class Receiver {
  readonly #server: Server;
  readonly #arrived = new Map<string, PromiseWithResolvers<number>>();
  readonly #counts = new Map<string, number>();

  private constructor() {
    this.#server = createServer((incoming, response) => {
      const chunks: Buffer[] = [];
      incoming.on("data", (chunk: Buffer) => chunks.push(chunk));
      incoming.on("end", () => {
        const { id } = JSON.parse(Buffer.concat(chunks).toString()) as { id: string };
        this.#of(id).resolve(Date.now());
        this.#counts.set(id, this.countOf(id) + 1);
        response.writeHead(204).end();
      });
    });
  }

  static async start(): Promise<Receiver> {
    const receiver = new Receiver();
    receiver.#server.listen(0, "127.0.0.1");
    await once(receiver.#server, "listening");
    return receiver;
  }

  get url(): string {
    return `http://127.0.0.1:${portOf(this.#server)}/webhook`;
  }

  /** How often the prediction's webhook has arrived. */
  countOf(id: string): number {
    return this.#counts.get(id) ?? 0;
  }

  /** Unix time in ms at which the prediction's webhook arrived. */
  arrivalOf(id: string): Promise<number> {
    return this.#of(id).promise;
  }

  #of(id: string): PromiseWithResolvers<number> {
    const known = this.#arrived.get(id) ?? Promise.withResolvers<number>();
    this.#arrived.set(id, known);
    return known;
  }

  stop(): void {
    this.#server.closeAllConnections();
    this.#server.close();
  }
}

export interface AbuseSystem extends AsyncDisposable {
  readonly honest: ApiClient;
  /**
   * Starts an attack in a process of its own, which leaves the machine to the others as far as it can, as an owner of its own.
   * Resolves once it is in full swing, with a function that stops it.
   */
  readonly attack: (name: string) => Promise<() => Promise<void>>;
  readonly receiver: Receiver;
  /** Elsewhere workers have machines of their own: what they compute gives way to the edge, NATS and the honest tenant. */
  readonly workersGiveWay: () => void;
}

const portOf = (server: Server): number => (server.address() as AddressInfo).port;
const digestOf = (key: string): string => createHash("sha256").update(key).digest("hex");

/** Of all threads: on Linux, each has its own. */
function giveWay(pid: number): void {
  const threads = process.platform === "linux" ? readdirSync(`/proc/${pid}/task`).map(Number) : [pid];
  for (const thread of threads) setPriority(thread, WORKER_NICE);
}

async function startNeighbour(name: string, means: Means): Promise<() => Promise<void>> {
  const child = fork(join(import.meta.dirname, "neighbour.ts"), [name, JSON.stringify(means)]);
  const exited = once(child, "exit");
  const [ready] = (await Promise.race([once(child, "message"), exited])) as [unknown];
  if (ready !== "ready") throw new Error(`the neighbour ended before its attack (${name}) had begun`);
  return async () => {
    child.send("stop");
    await exited;
  };
}

/** The stack with its default limits, a checkpoint, and keys for that many neighbours. */
export async function startAbuseSystem(neighbours: number, model = TINY_MODEL): Promise<AbuseSystem> {
  const { path: data, remove } = workFolder("vqd-abuse-");
  const keys = Array.from(
    { length: neighbours + 1 },
    () => `vqd_${randomBytes(KEY_BYTES).toString("base64url")}`,
  );
  const [honestKey = "", ...others] = keys;
  const hashes = keys.map((key, i) => `${i === 0 ? "honest" : `neighbour-${i}`}:${digestOf(key)}`);
  const receiver = await Receiver.start();
  const hangingServers = Array.from({ length: HANGING_PORTS }, () => createServer(() => {}));
  for (const server of hangingServers) {
    server.listen(0, "127.0.0.1");
    await once(server, "listening");
  }
  const stopReceivers = (): void => {
    receiver.stop();
    for (const server of hangingServers) {
      server.closeAllConnections();
      server.close();
    }
  };
  try {
    const stack = await startStack({
      workers: 1,
      model,
      data,
      apiKey: honestKey,
      edgeEnv: { API_KEYS: hashes.join(",") },
      workerEnv: { VQD_THREADS: "1", VQD_SLOTS: String(SLOTS), VQD_CACHE: join(REPO, ".vqd", "cache") },
    });
    let next = 0;
    return {
      honest: { url: stack.url, apiKey: honestKey },
      receiver,
      workersGiveWay() {
        for (const { pid } of stack.workers) if (pid !== undefined) giveWay(pid);
      },
      attack: (name) =>
        startNeighbour(name, {
          client: { url: stack.url, apiKey: others[next++ % others.length] ?? "" },
          hanging: hangingServers.map((server) => `http://127.0.0.1:${portOf(server)}/hang`),
          receiver: receiver.url,
        }),
      async [Symbol.asyncDispose]() {
        stopReceivers();
        await stack.stop();
        remove();
      },
    };
  } catch (error) {
    stopReceivers();
    remove();
    throw error;
  }
}
