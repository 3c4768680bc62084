// Free TCP ports on loopback.

import { randomInt } from "node:crypto";
import { createServer } from "node:net";

const HOST = "127.0.0.1";
/**
 * Below the ports that systems assign to outgoing connections (Linux from 32768, macOS and Windows from 49152): a client
 * that keeps reconnecting while its server restarts could otherwise be assigned that very port.
 */
const FIRST_PORT = 15_000;
const LAST_PORT = 32_000;
const MAX_TRIES = 200;

/** Whether `port` can be listened on now. */
export async function isPortFree(port: number): Promise<boolean> {
  const server = createServer();
  const free = await new Promise<boolean>((resolve) => {
    server.once("error", () => resolve(false));
    server.listen({ host: HOST, port, exclusive: true }, () => resolve(true));
  });
  if (free) await new Promise((resolve) => server.close(resolve));
  return free;
}

/** `count` different free ports, chosen at random so that stacks started at the same time do not collide. */
export async function freePorts(count: number): Promise<number[]> {
  const ports = new Set<number>();
  for (let tries = 0; ports.size < count; tries++) {
    if (tries === MAX_TRIES) throw new Error(`no free ports between ${FIRST_PORT} and ${LAST_PORT}`);
    const port = randomInt(FIRST_PORT, LAST_PORT);
    if (!ports.has(port) && (await isPortFree(port))) ports.add(port);
  }
  return [...ports];
}
