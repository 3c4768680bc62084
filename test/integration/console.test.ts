// The console and the status page in a real browser, on the running system.

import { execFile } from "node:child_process";
import { promisify } from "node:util";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NODE, REPO } from "../../infra/stack/paths.ts";
import { faintTexts, overflow } from "./support/accessibility.ts";
import { chromiumPath, openPage } from "./support/browser.ts";
import { request } from "./support/client.ts";
import { expectAccessible } from "./support/playground.ts";
import { ConsoleStack, DESKTOP, shows, WIDTHS } from "./console/context.ts";
import { isForEveryone } from "./console/everyone.ts";
import { listsRuns } from "./console/runs.ts";
import { triesReceivers } from "./console/webhooks.ts";

if (chromiumPath === undefined) {
  it.skip("the console in a browser: no Chromium found on the PATH or in VQD_CHROMIUM", () => {});
}

describe.skipIf(chromiumPath === undefined)("the console", () => {
  const stack = new ConsoleStack();
  beforeAll(() => stack.start());
  afterAll(() => stack.stop());

  it("asks for a key, says what is wrong with one, and shows whose it is", async () => {
    const { page } = await openPage(stack.browser, `${stack.test.url}/console`, {
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
    await page.fill("#key", stack.test.apiKey);
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

  triesReceivers(stack);
  listsRuns(stack);

  it("shows who works, what waits, and what was used", async () => {
    const { page, troubles } = await stack.open("workers");
    await page.locator(".version", { hasText: "Workers alive" }).waitFor();
    expect(await page.textContent(".version")).toMatch(/Share of requests100 %Workers with room\d/);
    await expectAccessible(page);
    await page.click("#tab-usage");
    const total = page.locator(".totals div", { hasText: "Images" }).locator("dd");
    await expect.poll(async () => Number(await total.textContent())).toBeGreaterThan(0);
    const { data } = (await (await request(stack.test, "/v1/usage")).json()) as {
      data: { images: number }[];
    };
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
      stack.test.stack.dataDir,
      "--json",
    ];
    const { stdout } = await promisify(execFile)(NODE, args, { cwd: REPO });
    const { key } = JSON.parse(stdout) as { key: string };
    const { page, troubles } = await stack.open("runs", DESKTOP, key);
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

  it("has a status page for everybody, also of a service that does not answer", async () => {
    const { page, troubles } = await openPage(stack.browser, `${stack.test.url}/status`, DESKTOP);
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
    await page.goto(`${stack.test.url}/v1/no/such/thing`);
    expect(await page.textContent("h1")).toBe("There is nothing at this address");
    await page.context().close();
    for (const path of ["console", "status"]) {
      const { page: bare } = await openPage(stack.browser, `${stack.test.url}/${path}`, {
        javaScriptEnabled: false,
      });
      expect(await bare.textContent("body")).toContain("needs JavaScript");
      await bare.context().close();
    }
  });

  isForEveryone(stack);
});

const QUOTA = {
  name: "images",
  limit: 1_000,
  used: 900,
  reserved: 25,
  resets_at: "2026-12-01T00:00:00.000Z",
};
