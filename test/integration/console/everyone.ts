// The console is for everyone: from the keyboard, at every width, in the system's colours, in order.

import { expect, it } from "vitest";
import { faintTexts, outOfOrder, overflow, readingOrder, tabStops } from "../support/accessibility.ts";
import { sticksOut } from "../support/playground.ts";
import { type ConsoleStack, DESKTOP, TABS, WIDTHS } from "./context.ts";

/** Registers its tests. */
export function isForEveryone(stack: ConsoleStack): void {
  it("is read in order, tells its states in the system's colours, and loses nothing at 400 %", async () => {
    const { page, troubles } = await stack.open("runs", {
      viewport: { width: 320, height: 256 },
      forcedColors: "active",
    });
    await page.locator(".runs > li").first().waitFor();
    const order = [
      "link Skip to the console",
      "navigation Pages",
      "heading Console",
      "tablist Console",
      "tab Runs",
      "tab Usage",
      "tabpanel Runs",
      "heading Runs",
      "button Refresh",
      "search Which runs",
      "combobox Status",
      "textbox Id",
    ];
    expect(outOfOrder(await readingOrder(page), order)).toEqual([]);
    const fill = (selector: string): Promise<string> =>
      page.locator(selector).evaluate((element) => getComputedStyle(element).backgroundColor);
    for (const tab of TABS) {
      await page.click(`#tab-${tab}`);
      await page.locator(`#panel-${tab} h2`).first().waitFor();
      const other = TABS.find((each) => each !== tab) ?? tab;
      expect(await fill(`#tab-${tab}`)).not.toBe(await fill(`#tab-${other}`));
      await page.focus(`#tab-${tab}`);
      const stops = await tabStops(page, 25);
      expect(
        stops.filter(({ hasRing, isCovered }) => !hasRing || isCovered),
        tab,
      ).toEqual([]);
      expect(await overflow(page), tab).toBeLessThanOrEqual(0);
      expect(await sticksOut(page), tab).toEqual([]);
    }
    expect(await fill('.choice [aria-pressed="true"] >> nth=0')).not.toBe(
      await fill('.choice [aria-pressed="false"] >> nth=0'),
    );
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("works from the keyboard, at every width, in light and dark", async () => {
    const { page, troubles } = await stack.open("runs", { ...DESKTOP, colorScheme: "dark" });
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
}
