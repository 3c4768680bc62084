// The console and the status page in a real browser, on the running system.

import { type ChildProcess, execFile, spawn } from "node:child_process";
import { once } from "node:events";
import { mkdtemp, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { freePorts } from "../../infra/stack/ports.ts";
import { NODE, REPO } from "../../infra/stack/paths.ts";
import { faintTexts, overflow } from "./support/accessibility.ts";
import { axeViolations } from "./support/axe.ts";
import { chromiumPath, launchBrowser, openPage, type WatchedPage } from "./support/browser.ts";
import { createPrediction, getPrediction, request } from "./support/client.ts";
import { expectAccessible, smallTargets, sticksOut } from "./support/playground.ts";
import { screenshot } from "./support/screenshots.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const WIDTHS = [320, 390, 640, 768, 1024, 1280, 1920];
const TABS = ["runs", "webhooks", "workers", "usage"] as const;
const DESKTOP: BrowserContextOptions = { viewport: { width: 1280, height: 900 } };

if (chromiumPath === undefined) {
  it.skip("the console in a browser: no Chromium found on the PATH or in VQD_CHROMIUM", () => {});
}

describe.skipIf(chromiumPath === undefined)("the console", () => {
  let test: TestStack;
  let browser: Browser;
  let folder: string;
  const receivers: ChildProcess[] = [];
  beforeAll(async () => {
    const edgeEnv = { WEBHOOK_ALLOW_LOOPBACK: "true", WEBHOOK_RETRY_SECONDS: "0,3600" };
    [test, browser, folder] = await Promise.all([
      startTestStack({ workers: 1, model: TINY_MODEL, edgeEnv }),
      launchBrowser(),
      mkdtemp(join(tmpdir(), "vqd-console-")),
    ]);
  });
  afterAll(async () => {
    await browser?.close();
    await test?.stop();
    for (const receiver of receivers) if (receiver.exitCode === null) receiver.kill("SIGKILL");
    await rm(folder, { recursive: true, force: true });
  });

  /** The console with a key, in one of its tabs. */
  async function open(tab: string, options = DESKTOP, key = test.apiKey): Promise<WatchedPage> {
    const opened = await openPage(browser, `${test.url}/console#key=${encodeURIComponent(key)}`, options);
    await opened.page.click("#key-offer-use");
    await opened.page.click(`#tab-${tab}`);
    return opened;
  }
  const shows = (page: Page, text: RegExp | string): Promise<void> =>
    page.locator("main", { hasText: text }).waitFor();

  /** Starts what the page says, on a free port unless one is given; gives its URL and what it has printed. */
  async function startReceiver(language: string, code: string, secret: string, given?: number) {
    const [port = 0] = given === undefined ? await freePorts(1) : [given];
    const [name, command] = language === "python" ? ["receiver.py", "python3"] : ["receiver.mjs", NODE];
    await writeFile(join(folder, name), code);
    const env = { ...process.env, SECRET: secret, PORT: String(port) };
    const receiver = spawn(command, [join(folder, name)], { env, stdio: ["ignore", "pipe", "ignore"] });
    receivers.push(receiver);
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

  it("asks for a key, says what is wrong with one, and shows whose it is", async () => {
    const { page } = await openPage(browser, `${test.url}/console`, {
      viewport: { width: 390, height: 844 },
    });
    await shows(page, "The console needs a key");
    await expectAccessible(page);
    await page.click("#gate-action");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("key");
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await shows(page, "The service does not know this key");
    await expectAccessible(page);
    await page.click("#gate-action");
    await page.fill("#key", test.apiKey);
    await page.keyboard.press("Enter");
    await shows(page, "No runs yet");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("tab-runs");
    expect(await page.textContent("#own-key summary")).toMatch(/dev\s+create read admin metrics/);
    await page.click("#own-key summary");
    expect(await page.textContent("#own-command")).toBe("npm run keys -- create dev --scopes read");
    await expectAccessible(page);
    // The service is gone for a moment.
    await page.route("**/v1/predictions?*", (route) => route.abort());
    await page.click("text=Refresh");
    await shows(page, "The service is unreachable");
    await expectAccessible(page);
    await page.unroute("**/v1/predictions?*");
    await page.click("text=Try again");
    await shows(page, "No runs yet");
    await page.context().close();
  });

  it("tries receivers with the code that it shows, keeps the secret to itself, and replaces it", async () => {
    const { page, troubles } = await open("webhooks");
    expect(await page.isVisible("#secret")).toBe(false);
    await page.focus("#secret-show");
    await page.keyboard.press("Enter");
    await page.locator("#secret", { hasText: /^whsec_/ }).waitFor();
    const secret = (await page.textContent("#secret")) ?? "";
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("secret-show");
    await expectAccessible(page);
    expect(await smallTargets(page)).toEqual([]);
    const send = async (url: string): Promise<string> => {
      await page.fill("#trial-url", url);
      await page.evaluate(() => document.querySelector("#trial-answer")?.replaceChildren());
      await page.press("#trial-url", "Enter");
      await page.locator("#trial-answer .outcome").waitFor();
      return (await page.textContent("#trial-answer")) ?? "";
    };
    let last = "";
    for (const language of ["javascript", "python"]) {
      await page.click(`#receiver-${language}`);
      const code = (await page.textContent("#receiver-code")) ?? "";
      const receiver = await startReceiver(language, code, secret);
      expect(await send(receiver.url)).toMatch(/^Delivered\s*Status 204, after \d+ ms/);
      await expect.poll(receiver.printed).toMatch(/^msg_\w+ test succeeded \[/);
      last = receiver.url;
    }

    await page.click("#secret-rotate");
    expect(await axeViolations(page)).toEqual([]);
    await page.click("#rotate-keep");
    expect(await page.textContent("#secret")).toBe(secret);
    await page.click("#secret-rotate");
    await page.click("#rotate-do");
    await shows(page, "This one signs from now on; the old one too, until");
    expect(await page.textContent("#secret")).not.toBe(secret);
    // What has the old one goes on.
    expect(await send(last)).toMatch(/^Delivered/);

    // One with neither refuses, and nothing answers at a port that nobody listens at.
    await page.click("#receiver-javascript");
    const other = await startReceiver(
      "javascript",
      (await page.textContent("#receiver-code")) ?? "",
      "whsec_AAAA",
    );
    expect(await send(other.url)).toMatch(/^Not delivered\s*Status 401/);
    const [closed = 0] = await freePorts(1);
    expect(await send(`http://127.0.0.1:${closed}/`)).toMatch(/^Not delivered\s*No connection/);
    await page.fill("#trial-url", "https://10.0.0.1/");
    await page.click("text=Send test event");
    await page.locator("#trial-error", { hasText: "It must not be a private address." }).waitFor();
    await expectAccessible(page);
    await page.click("#tab-runs");
    await page.click("#tab-webhooks");
    expect(await page.isVisible("#secret")).toBe(false);
    expect(troubles.filter((trouble) => !trouble.includes("422"))).toEqual([]);
    await page.context().close();
  });

  it("lists runs with their webhooks, sends those again, and cancels", async () => {
    const [port = 0] = await freePorts(1);
    const webhook = `http://127.0.0.1:${port}/hook`;
    const input = { prompt: "a fox", num_inference_steps: 2, seed: 1 };
    const made = await request(test, "/v1/predictions", {
      input,
      webhook,
      webhook_events_filter: ["completed"],
    });
    const { id } = (await made.json()) as { id: string };
    await expect
      .poll(async () => (await getPrediction(test, id)).status, { timeout: 30_000 })
      .toBe("succeeded");
    const pid = test.stack.workers[0]?.pid ?? Number.NaN;
    process.kill(pid, "SIGSTOP");
    try {
      const waiting = await createPrediction(test, { prompt: ["a cat", "a dog"], num_inference_steps: 50 });
      const { page, troubles } = await open("runs");
      const row = (of: string) => page.locator("li", { has: page.locator(`a[href="./#run=${of}"]`) });
      await row(id).locator("summary").waitFor();
      expect(await row(waiting.id).locator("summary").textContent()).toMatch(
        /^(?:Waiting|Running)a cat · a dog/,
      );
      await row(id).locator("summary").focus();
      await page.keyboard.press("Enter");
      await row(id).locator(".delivery", { hasText: "no connection" }).waitFor();
      await expectAccessible(page);
      expect(await smallTargets(page)).toEqual([]);

      await startReceiver("javascript", RECEIVER_OF_ANY, "", port);
      await row(id).locator("text=Send the last one again").click();
      await expect
        .poll(async () => {
          await row(id).locator(".deliveries >> text=Refresh").click();
          return row(id).locator(".delivery li").count();
        })
        .toBe(2);

      await row(waiting.id).locator("summary").click();
      await row(waiting.id).locator("text=Cancel").click();
      await row(waiting.id).locator("summary", { hasText: "Canceled" }).waitFor();
      expect((await getPrediction(test, waiting.id)).status).toBe("canceled");
      // What is open stays open when the list is read again.
      expect(await row(id).locator(".run-body").isVisible()).toBe(true);
      await screenshot(page, "console", true);
      expect(troubles).toEqual([]);
      await row(id).locator("text=Open in the playground").click();
      await page.locator("#stage-title", { hasText: "a fox" }).waitFor();
      await page.context().close();
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });

  it("shows who works, what waits, and what was used", async () => {
    const { page, troubles } = await open("workers");
    await page.locator(".version", { hasText: "Workers alive" }).waitFor();
    expect(await page.textContent(".version")).toMatch(/Share of requests100 %Workers with room\d/);
    await expectAccessible(page);
    await page.click("#tab-usage");
    const total = page.locator(".totals div", { hasText: "Images" }).locator("dd");
    await expect.poll(async () => Number(await total.textContent())).toBeGreaterThan(0);
    const { data } = (await (await request(test, "/v1/usage")).json()) as { data: { images: number }[] };
    expect(Number(await total.textContent())).toBe(data.reduce((sum, { images }) => sum + images, 0));
    expect(await page.locator("svg.plot").getAttribute("aria-label")).toMatch(/^Images by day: most on/);
    expect(await page.locator("svg.plot rect").count()).toBe(30);
    await page.click("text=7 days");
    await expect.poll(() => page.locator("svg.plot rect").count()).toBe(7);
    await page.click(".choice >> text=Steps");
    expect(await page.locator("svg.plot").getAttribute("aria-label")).toMatch(/^Steps by day/);
    await expectAccessible(page);
    // Of an older service, and of a time without any.
    await page.route("**/v1/usage?*", (route) => route.fulfill({ json: { data: [], quotas: [QUOTA] } }));
    await page.click("text=90 days");
    await shows(page, "Nothing used");
    await shows(page, "900 of 1,000, 25 more under way; anew on");
    await expectAccessible(page);
    await page.unroute("**/v1/usage?*");
    expect(troubles).toEqual([]);
    await page.route("**/v1/usage?*", (route) =>
      route.fulfill({ status: 404, json: { detail: "nothing here" } }),
    );
    await page.click("text=30 days");
    await shows(page, "This service does not count usage");
    await page.context().close();
  });

  it("says what a key may not see", async () => {
    const args = [
      "infra/keys.ts",
      "create",
      "clerk",
      "--scopes",
      "create",
      "--data",
      test.stack.dataDir,
      "--json",
    ];
    const { stdout } = await promisify(execFile)(NODE, args, { cwd: REPO });
    const { key } = JSON.parse(stdout) as { key: string };
    const { page, troubles } = await open("runs", DESKTOP, key);
    for (const [tab, scope] of [
      ["runs", "read"],
      ["webhooks", "admin"],
      ["workers", "metrics"],
      ["usage", "read"],
    ] as const) {
      await page.click(`#tab-${tab}`);
      await shows(page, `npm run keys -- create clerk --scopes create,${scope}`);
      await expectAccessible(page);
    }
    // Nothing was asked for that would have been refused.
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("works from the keyboard, at every width, in light and dark", async () => {
    const { page, troubles } = await open("runs", { ...DESKTOP, colorScheme: "dark" });
    await page.focus("#tab-runs");
    for (const tab of [...TABS.slice(1), "runs"]) {
      await page.keyboard.press("ArrowRight");
      expect(await page.evaluate(() => document.activeElement?.id)).toBe(`tab-${tab}`);
      expect(new URL(page.url()).hash).toBe(`#${tab}`);
    }
    for (const tab of TABS) {
      await page.click(`#tab-${tab}`);
      await page.locator(`#panel-${tab} h2`).first().waitFor();
      for (const width of WIDTHS) {
        await page.setViewportSize({ width, height: 900 });
        expect(await overflow(page), `${tab} at ${width}`).toBeLessThanOrEqual(0);
        expect(await sticksOut(page), `${tab} at ${width}`).toEqual([]);
      }
      expect(await faintTexts(page)).toEqual([]);
    }
    await page.reload();
    await page.locator("#panel-usage h2").waitFor();
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("has a status page for everybody, also of a service that does not answer", async () => {
    const { page, troubles } = await openPage(browser, `${test.url}/status`, DESKTOP);
    await page.locator("#headline", { hasText: "Everything works" }).waitFor();
    await page.locator(".model", { hasText: "Served" }).waitFor();
    await expectAccessible(page);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      expect(await overflow(page), `${width}`).toBeLessThanOrEqual(0);
    }
    await page.emulateMedia({ colorScheme: "dark" });
    expect(await faintTexts(page)).toEqual([]);
    expect(troubles).toEqual([]);
    await page.route("**/v1/status", (route) => route.abort());
    await page.reload();
    await page.locator("#headline", { hasText: "The service does not answer" }).waitFor();
    await expectAccessible(page);
    await page.goto(`${test.url}/v1/no/such/thing`);
    expect(await page.textContent("h1")).toBe("There is nothing at this address");
    await page.context().close();
    for (const path of ["console", "status"]) {
      const { page: bare } = await openPage(browser, `${test.url}/${path}`, { javaScriptEnabled: false });
      expect(await bare.textContent("body")).toContain("needs JavaScript");
      await bare.context().close();
    }
  });
});

/** Refuses what startReceiver sends to see whether it listens. */
const RECEIVER_OF_ANY = `import { createServer } from "node:http";
createServer((request, response) => response.writeHead("webhook-id" in request.headers ? 204 : 401).end())
  .listen(process.env.PORT);`;

const QUOTA = {
  name: "images",
  limit: 1_000,
  used: 900,
  reserved: 25,
  resets_at: "2026-12-01T00:00:00.000Z",
};
