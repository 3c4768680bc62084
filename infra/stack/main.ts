// `npm start`: runs the stack in the foreground until it is told to stop.

import { formatLine, type LogLine } from "./log.ts";
import { DEFAULT_PORT, type StartOptions, readStartOptions } from "./options.ts";
import { UsageError } from "../usage-error.ts";
import { type Stack, startStack } from "./stack.ts";

/** Ctrl-C reaches the process from the terminal and again through npm; that is one request, not two. */
const SAME_REQUEST_MS = 1_000;
const IMAGE = "cat.png";

const isColored = process.stdout.isTTY && !process.env["NO_COLOR"];
const isVerbose = process.env["VQD_LOG_LEVEL"] === "debug";

function print(line: LogLine): void {
  if (line.level === "debug" && !isVerbose) return;
  process.stdout.write(`${formatLine(line, isColored)}\n`);
}

const say = (text: string): void => print({ source: "stack", level: "info", text });

/** A command line that works in any POSIX shell with curl, sed and base64. */
function curlLine(stack: Stack): string {
  const body = JSON.stringify({ prompt: "cat", seed: 7, response_format: "b64_json" });
  return [
    `curl -sS ${stack.url}/v1/images/generations`,
    `-H 'authorization: Bearer ${stack.apiKey.replaceAll("'", String.raw`'\''`)}'`,
    `-H 'content-type: application/json' -d '${body}'`,
    String.raw`| sed -n 's/.*"b64_json": *"\([^"]*\)".*/\1/p' | base64 -d > ${IMAGE}`,
  ].join(" ");
}

function announce(stack: Stack, { workers }: StartOptions): void {
  say("");
  say(`API key: ${stack.apiKey}`);
  say(`Playground: ${stack.url}/#key=${encodeURIComponent(stack.apiKey)}`);
  if (workers === 0) {
    say(
      `no workers: start some with VQD_NATS_URL=${stack.natsUrl} and the user "worker" of ${stack.dataDir}/nats/passwords.json`,
    );
  } else {
    say(`Generate an image; this writes ${IMAGE}:`);
    say(`  ${curlLine(stack)}`);
    say("Apps with a fixed model name: MODEL_ALIASES=gpt-image-1=vqd/scenes,dall-e-3=vqd/scenes npm start");
  }
  if (stack.joinToken !== undefined) {
    say("A worker on another machine joins with this, in a copy of this repository:");
    say(`  npm run vqd -- join ${stack.joinToken}`);
  }
  say("");
  say(`ready on ${stack.url}`);
}

async function run(): Promise<void> {
  const options = readStartOptions(process.argv.slice(2), process.env);
  const stopping = new AbortController();
  let firstRequestAt: number | undefined;
  const requestStop = (signal: NodeJS.Signals): void => {
    const now = performance.now();
    if (firstRequestAt === undefined) {
      firstRequestAt = now;
      say(`${signal}: stopping`);
      stopping.abort();
    } else if (now - firstRequestAt > SAME_REQUEST_MS) {
      // The stack kills its children when the process exits.
      process.exit(130);
    }
  };
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const)
    process.on(signal, () => requestStop(signal));
  // A closed terminal accepts no more output; the children must still be stopped in order.
  process.stdout.on("error", () => requestStop("SIGHUP"));
  // The process that started this one is gone, and nobody else could stop it.
  process.on("disconnect", () => requestStop("SIGHUP"));
  process.channel?.unref();

  const { port, apiKey } = options;
  let stack: Stack;
  try {
    stack = await startStack({
      prefersCurrentNats: true,
      model: options.model,
      workers: options.workers,
      provider: options.provider,
      data: options.data,
      queueLimit: options.queueLimit,
      leaseSeconds: options.leaseSeconds,
      listen: options.listen,
      edgeEnv: { MODEL_ALIASES: process.env["MODEL_ALIASES"] ?? "" },
      ...(port === undefined ? { preferredPort: DEFAULT_PORT } : {}),
      ...(port === undefined || port === 0 ? {} : { port }),
      ...(apiKey === undefined ? {} : { apiKey }),
      log: print,
      signal: stopping.signal,
    });
  } catch (error) {
    if (stopping.signal.aborted) return;
    throw error;
  }
  announce(stack, options);
  const stop = stack.stop.bind(stack);
  if (stopping.signal.aborted) await stop();
  else
    await new Promise<void>((resolve, reject) => {
      stopping.signal.addEventListener("abort", () => void stop().then(resolve, reject), { once: true });
    });
  say("stopped");
}

try {
  await run();
  process.exit(0);
} catch (error) {
  const message = error instanceof Error ? error.message : String(error);
  print({ source: "stack", level: "error", text: message });
  process.exit(error instanceof UsageError ? 2 : 1);
}
