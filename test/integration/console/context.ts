// The stack and the browser that all tests of the console share.

import { type ChildProcess, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { expect } from "vitest";
import { NODE } from "../../../infra/stack/paths.ts";
import { freePorts } from "../../../infra/stack/ports.ts";
import { launchBrowser, openPage, type WatchedPage } from "../support/browser.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "../support/stack.ts";

export const WIDTHS = [320, 390, 640, 768, 1024, 1280, 1920];
export const TABS = ["runs", "webhooks", "workers", "usage"] as const;
export const DESKTOP: BrowserContextOptions = { viewport: { width: 1280, height: 900 } };

export const shows = (page: Page, text: RegExp | string): Promise<void> =>
  page.locator("main", { hasText: text }).waitFor();

interface Parts {
  readonly test: TestStack;
  readonly browser: Browser;
  readonly folder: string;
}

export class ConsoleStack {
  #parts: Parts | undefined;
  readonly #receivers: ChildProcess[] = [];

  get test(): TestStack {
    return this.#started.test;
  }
  get browser(): Browser {
    return this.#started.browser;
  }
  /** Where receivers are written. */
  get folder(): string {
    return this.#started.folder;
  }

  async start(): Promise<void> {
    const edgeEnv = { WEBHOOK_ALLOW_LOOPBACK: "true", WEBHOOK_RETRY_SECONDS: "0,3600" };
    const [test, browser, folder] = await Promise.all([
      startTestStack({ workers: 1, model: TINY_MODEL, edgeEnv }),
      launchBrowser(),
      mkdtemp(join(tmpdir(), "vqd-console-")),
    ]);
    this.#parts = { test, browser, folder };
  }

  async stop(): Promise<void> {
    await this.#parts?.browser.close();
    await this.#parts?.test.stop();
    for (const receiver of this.#receivers) if (receiver.exitCode === null) receiver.kill("SIGKILL");
    if (this.#parts !== undefined) await rm(this.folder, { recursive: true, force: true });
  }

  /** The console with a key, in one of its tabs. */
  async open(tab: string, options = DESKTOP, key = this.test.apiKey): Promise<WatchedPage> {
    const url = `${this.test.url}/console#key=${encodeURIComponent(key)}`;
    const opened = await openPage(this.browser, url, options);
    await opened.page.click("#key-offer-use");
    await opened.page.click(`#tab-${tab}`);
    return opened;
  }

  /** Starts what the page says, on a free port unless one is given; gives its URL and what it has printed. */
  async startReceiver(language: string, code: string, secret: string, given?: number) {
    const [port = 0] = given === undefined ? await freePorts(1) : [given];
    const [name, command] = language === "python" ? ["receiver.py", "python3"] : ["receiver.mjs", NODE];
    await writeFile(join(this.folder, name), code);
    const env = { ...process.env, SECRET: secret, PORT: String(port) };
    const receiver = spawn(command, [join(this.folder, name)], { env, stdio: ["ignore", "pipe", "ignore"] });
    this.#receivers.push(receiver);
    let printed = "";
    receiver.stdout.on("data", (chunk: Buffer) => (printed += chunk.toString()));
    await Promise.race([
      once(receiver, "spawn"),
      once(receiver, "error").then(([error]) => Promise.reject(error as Error)),
    ]);
    const url = `http://127.0.0.1:${port}/hook`;
    await expect
      .poll(() =>
        fetch(url, { method: "POST", body: "{}" }).then(
          ({ status }) => status,
          () => 0,
        ),
      )
      .toBe(401);
    return { url, printed: () => printed };
  }

  get #started(): Parts {
    if (this.#parts === undefined) throw new Error("the stack is not started");
    return this.#parts;
  }
}
