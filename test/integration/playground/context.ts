// The stack and the browser that all tests of the playground share.

import { createHash } from "node:crypto";
import type { Browser, BrowserContextOptions } from "playwright-core";
import { launchBrowser, openPage, type WatchedPage } from "../support/browser.ts";
import { startTestStack, type TestStack } from "../support/stack.ts";

export const OTHER_KEY = "key-of-somebody-else";
export const THIRD_KEY = "key-of-a-third";
export const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
};

export class Playground {
  #parts: { readonly test: TestStack; readonly browser: Browser } | undefined;

  get test(): TestStack {
    return this.#started.test;
  }
  get browser(): Browser {
    return this.#started.browser;
  }
  /** A link to the page that brings the stack's key. */
  get link(): string {
    return `${this.test.url}/#key=${encodeURIComponent(this.test.apiKey)}`;
  }

  async start(): Promise<void> {
    const apiKey = "key-of-the-test";
    const hash = (key: string): string => createHash("sha256").update(key).digest("hex");
    const keys = { dev: apiKey, mallory: OTHER_KEY, third: THIRD_KEY };
    const edgeEnv = {
      API_KEYS: Object.entries(keys)
        .map(([name, key]) => `${name}:${hash(key)}`)
        .join(","),
    };
    const [test, browser] = await Promise.all([
      startTestStack({ workers: 1, apiKey, edgeEnv }),
      launchBrowser(),
    ]);
    this.#parts = { test, browser };
  }

  async stop(): Promise<void> {
    await this.#parts?.browser.close();
    await this.#parts?.test.stop();
  }

  /** A page with the stack's key. */
  async open(options?: BrowserContextOptions): Promise<WatchedPage> {
    const opened = await openPage(this.browser, this.link, options);
    await opened.page.click("#key-offer-use");
    await opened.page.locator("#key-state", { hasText: "of dev" }).waitFor();
    return opened;
  }

  get #started() {
    if (this.#parts === undefined) throw new Error("the stack is not started");
    return this.#parts;
  }
}
