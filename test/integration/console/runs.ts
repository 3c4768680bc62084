// The tab of runs: webhooks sent again, filters, and the way to it from the keyboard.

import { expect, it } from "vitest";
import { freePorts } from "../../../infra/stack/ports.ts";
import { overflow } from "../support/accessibility.ts";
import { openPage } from "../support/browser.ts";
import { createPrediction, getPrediction, request } from "../support/client.ts";
import { done, expectAccessible, smallTargets, sticksOut, tabTo, tabToThe } from "../support/playground.ts";
import { screenshot } from "../support/screenshots.ts";
import { type ConsoleStack, DESKTOP, shows, WIDTHS } from "./context.ts";

/** Registers its tests. */
export function listsRuns(stack: ConsoleStack): void {
  it("lists runs with their webhooks, sends those again, and cancels", async () => {
    const [port = 0] = await freePorts(1);
    const webhook = `http://127.0.0.1:${port}/hook`;
    const input = { prompt: "a fox", num_inference_steps: 2, seed: 1 };
    const made = await request(stack.test, "/v1/predictions", {
      input,
      webhook,
      webhook_events_filter: ["completed"],
    });
    const { id } = (await made.json()) as { id: string };
    await expect
      .poll(async () => (await getPrediction(stack.test, id)).status, { timeout: 30_000 })
      .toBe("succeeded");
    const pid = stack.test.stack.workers[0]?.pid ?? Number.NaN;
    process.kill(pid, "SIGSTOP");
    try {
      const waiting = await createPrediction(stack.test, {
        prompt: ["a cat", "a dog"],
        num_inference_steps: 50,
      });
      const { page, troubles } = await stack.open("runs");
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

      await stack.startReceiver("javascript", RECEIVER_OF_ANY, "", port);
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
      expect((await getPrediction(stack.test, waiting.id)).status).toBe("canceled");
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

  it("narrows the runs down, by the address too, and says when none match", async () => {
    const [kept, canceled] = await Promise.all(
      [1, 2].map((seed) => createPrediction(stack.test, { prompt: "a boat", num_inference_steps: 50, seed })),
    );
    if (kept === undefined || canceled === undefined) throw new Error("there are two");
    await request(stack.test, `/v1/predictions/${canceled.id}/cancel`, {});
    const { page, troubles } = await stack.open("runs");
    const rows = page.locator(".runs > li");
    const shown = async (): Promise<string[]> =>
      (
        await rows
          .locator("a.button")
          .evaluateAll((links) => links.map((link) => link.getAttribute("href") ?? ""))
      ).map((href) => href.slice(href.indexOf("=") + 1));
    const hash = (): string => new URL(page.url()).hash;
    await expect.poll(shown).toContain(kept.id);
    await page.selectOption("#filter-status", "canceled");
    await expect.poll(hash).toBe("#runs?status=canceled");
    await expect.poll(shown).not.toContain(kept.id);
    expect(await shown()).toContain(canceled.id);
    await page.fill("#filter-id", canceled.id.slice(5, 17));
    await expect.poll(shown).toEqual([canceled.id]);
    await page.locator("#announcer", { hasText: "1 run shown." }).waitFor();
    await page.locator("#filter-model option", { hasText: "/" }).first().waitFor({ state: "attached" });
    const model = (await page.locator("#filter-model option").nth(1).textContent()) ?? "";
    await page.selectOption("#filter-model", model);
    await expect.poll(hash).toContain(`&model=${encodeURIComponent(model)}&id=`);
    expect(await shown()).toEqual([canceled.id]);
    await page.selectOption("#filter-status", "failed");
    await shows(page, "No runs match");
    await expectAccessible(page);
    expect(await smallTargets(page)).toEqual([]);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      expect(await overflow(page), `${width}`).toBeLessThanOrEqual(0);
      expect(await sticksOut(page), `${width}`).toEqual([]);
    }
    // A reload, and another tab and back, keep them.
    await page.reload();
    await shows(page, "No runs match");
    expect(await page.inputValue("#filter-id")).toBe(canceled.id.slice(5, 17));
    await page.click("#tab-usage");
    expect(hash()).toBe("#usage");
    await page.click("#tab-runs");
    await shows(page, "No runs match");
    expect(hash()).toContain("#runs?status=failed");
    await page.click("text=Clear filters");
    await expect.poll(shown).toContain(kept.id);
    expect(hash()).toBe("#runs");
    expect(await page.isVisible("text=Clear filters")).toBe(false);
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("filter-status");
    // The address says it, too.
    await page.evaluate(() => (location.hash = "#runs?status=canceled"));
    await expect.poll(shown).not.toContain(kept.id);
    expect(troubles).toEqual([]);
    // What the service does not take.
    await page.fill("#filter-id", "no id");
    await shows(page, "Id must be up to 100 letters, digits, dots, underscores and hyphens.");
    await page.context().close();
  });

  it("leads from the keyboard alone from a prompt to its picture, to the history, and to a webhook sent again", async () => {
    const [port = 0] = await freePorts(1);
    const webhook = `http://127.0.0.1:${port}/hook`;
    const input = { prompt: "a ship", num_inference_steps: 2, seed: 1 };
    const made = await request(stack.test, "/v1/predictions", {
      input,
      webhook,
      webhook_events_filter: ["completed"],
    });
    const { id } = (await made.json()) as { id: string };
    await expect.poll(async () => (await getPrediction(stack.test, id)).status).toBe("succeeded");
    await stack.startReceiver("javascript", RECEIVER_OF_ANY, "", port);
    const { page, troubles } = await openPage(
      stack.browser,
      `${stack.test.url}/#key=${encodeURIComponent(stack.test.apiKey)}`,
      DESKTOP,
    );
    const { keyboard } = page;
    await page.locator("#key-offer").waitFor();
    await tabTo(page, "key-offer-use");
    await keyboard.press("Enter");
    await page.locator("#key-state", { hasText: "of dev" }).waitFor();
    await tabTo(page, "prompt");
    await keyboard.type("a fox");
    await keyboard.press("Enter");
    await done(page);
    await page.locator("#history-list a", { hasText: "a ship" }).first().waitFor();
    await tabToThe(page, `#history-list a[href="#run=${id}"]`);
    await keyboard.press("Enter");
    await page.locator("#stage-title", { hasText: "a ship" }).waitFor();
    await done(page);
    await tabToThe(page, 'nav a[href="console"]');
    await keyboard.press("Enter");
    await page.locator(".runs > li").first().waitFor();
    await tabTo(page, "tab-runs");
    await tabToThe(page, `details:has(a[href="./#run=${id}"]) > summary`);
    await keyboard.press("Enter");
    const row = page.locator("li", { has: page.locator(`a[href="./#run=${id}"]`) });
    await row.locator("text=Send the last one again").waitFor();
    const sent = await row.locator(".delivery li").count();
    await tabToThe(page, `details:has(a[href="./#run=${id}"]) .deliveries .row button`);
    await keyboard.press("Enter");
    await expect
      .poll(async () => {
        await row.locator(".deliveries >> text=Refresh").click();
        return row.locator(".delivery li", { hasText: "204" }).count();
      })
      .toBeGreaterThan(0);
    expect(await row.locator(".delivery li").count()).toBeGreaterThan(sent);
    // This model has no list of words, and nothing that the pages ask for is missing.
    expect(troubles).toEqual([]);
    await page.context().close();
  });
}

/** Refuses what startReceiver sends to see whether it listens. */
const RECEIVER_OF_ANY = `import { createServer } from "node:http";
createServer((request, response) => response.writeHead("webhook-id" in request.headers ? 204 : 401).end())
  .listen(process.env.PORT);`;
