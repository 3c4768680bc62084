// A headless Chromium for the pages, which notes everything that goes wrong in it.

import { accessSync, constants } from "node:fs";
import { delimiter, join } from "node:path";
import { type Browser, type BrowserContextOptions, chromium, type Page } from "playwright-core";

const NAMES = ["chromium", "chromium-browser", "google-chrome", "google-chrome-stable"];

function isExecutable(path: string): boolean {
  try {
    accessSync(path, constants.X_OK);
    return true;
  } catch {
    return false;
  }
}

/** Path of the system's Chromium: `VQD_CHROMIUM`, else from the PATH; undefined if there is none. */
export const chromiumPath: string | undefined = [
  process.env["VQD_CHROMIUM"] ?? "",
  ...(process.env["PATH"] ?? "").split(delimiter).flatMap((dir) => NAMES.map((name) => join(dir, name))),
].find((path) => path !== "" && isExecutable(path));

export function launchBrowser(): Promise<Browser> {
  return chromium.launch({
    ...(chromiumPath === undefined ? {} : { executablePath: chromiumPath }),
    // Containers have no user namespaces for its sandbox; it only ever loads our own pages.
    args: ["--no-sandbox", "--disable-dev-shm-usage"],
  });
}

export interface WatchedPage {
  readonly page: Page;
  /** Errors on the console, uncaught exceptions, violations of the content security policy, failed requests. */
  readonly troubles: string[];
}

/** A page of a new context. */
export async function openPage(
  browser: Browser,
  url: string,
  options: BrowserContextOptions = {},
): Promise<WatchedPage> {
  const context = await browser.newContext({ reducedMotion: "reduce", ...options });
  const page = await context.newPage();
  const troubles: string[] = [];
  page.on("console", (message) => {
    if (message.type() === "error") troubles.push(message.text());
  });
  page.on("pageerror", (error) => troubles.push(`uncaught: ${error.message}`));
  page.on("response", (response) => {
    if (response.status() >= 400) troubles.push(`${response.status()} ${new URL(response.url()).pathname}`);
  });
  await page.goto(url);
  return { page, troubles };
}
