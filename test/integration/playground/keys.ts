// The playground asks for a key, and before it uses that of a link.

import type { Page } from "playwright-core";
import { describe, expect, it } from "vitest";
import { faintTexts, unnamedControls } from "../support/accessibility.ts";
import { openPage } from "../support/browser.ts";
import { done, expectAccessible, PROMPT } from "../support/playground.ts";
import { OTHER_KEY, PHONE, type Playground, THIRD_KEY } from "./context.ts";

/** Registers its tests. */
export function asksForKeys(playground: Playground): void {
  it("asks for a key on a phone, where its form is in sight, and then makes what was asked", async () => {
    const { page } = await openPage(playground.browser, playground.test.url, PHONE);
    await page.locator("#examples button").first().waitFor();
    await expectAccessible(page);
    await page.fill("#prompt", PROMPT);
    await page.tap("#preset-draft");
    await page.tap("#make");
    await page.locator("#key-error", { hasText: "required" }).waitFor();
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("key");
    for (const width of [320, 390]) {
      await page.setViewportSize({ width, height: 844 });
      const { x = -1, width: own = Infinity } = (await page.locator("#key-form").boundingBox()) ?? {};
      expect(x).toBeGreaterThanOrEqual(0);
      expect(x + own).toBeLessThanOrEqual(width);
    }
    await expectAccessible(page);
    await page.keyboard.type("wrong");
    await page.keyboard.press("Enter");
    await page.locator("#key-error", { hasText: "invalid" }).waitFor();
    await page.fill("#key", playground.test.apiKey);
    await page.keyboard.press("Enter");
    await done(page);
    expect(
      await page.evaluate(() => [localStorage.getItem("vqd.key"), sessionStorage.getItem("vqd.key")]),
    ).toEqual([null, playground.test.apiKey]);
    await page.context().close();
  });

  describe("asked to use the key of a link", () => {
    const storedKeys = (page: Page): Promise<(string | null)[]> =>
      page.evaluate(() => [localStorage.getItem("vqd.key"), sessionStorage.getItem("vqd.key")]);
    const linkWith = (key: string): string => `${playground.test.url}/#key=${encodeURIComponent(key)}`;

    it("says whose it is and what that means, and does so only if told to", async () => {
      const { page, troubles } = await openPage(playground.browser, `${playground.link}&prompt=pizza`);
      const offer = page.locator("#key-offer");
      await offer.waitFor();
      expect(page.url()).toBe(`${playground.test.url}/#prompt=pizza`);
      expect(await storedKeys(page)).toEqual([null, null]);
      expect(await page.textContent("#key-offer-text")).toBe(
        `The link contains the API key …${playground.test.apiKey.slice(-4)} of dev. What you generate with it belongs to dev, ` +
          "who can see your prompts and images.",
      );
      expect(await page.locator("#key-offer-current").isVisible()).toBe(false);
      expect((await unnamedControls(page)).unnamed).toEqual([]);
      expect(await faintTexts(page)).toEqual([]);
      await page.click("#key-offer-refuse");
      expect(await storedKeys(page)).toEqual([null, null]);

      await page.evaluate((hash) => (location.hash = hash), new URL(playground.link).hash);
      await page.click("#key-offer-use");
      await page.locator("#key-state", { hasText: "of dev" }).waitFor();
      expect(await storedKeys(page)).toEqual([null, playground.test.apiKey]);
      expect(troubles).toEqual([]);
      await page.context().close();
    });

    it("keeps the key it has, unless told otherwise, and asks one question at a time", async () => {
      const { page, troubles } = await playground.open();
      await page.evaluate((hash) => (location.hash = hash), new URL(linkWith(OTHER_KEY)).hash);
      await page.locator("#key-offer").waitFor();
      expect(await page.textContent("#key-offer-text")).toContain("of mallory");
      expect(await page.textContent("#key-offer-current")).toContain(`…${playground.test.apiKey.slice(-4)}`);
      // Enter is pressed before anything is read.
      await page.keyboard.press("Enter");
      expect(await page.locator("#key-offer").isVisible()).toBe(false);
      expect(await storedKeys(page)).toEqual([null, playground.test.apiKey]);

      await page.evaluate((hash) => (location.hash = hash), new URL(linkWith(OTHER_KEY)).hash);
      await page.locator("#key-offer").waitFor();
      await page.keyboard.press("Escape");
      expect(await storedKeys(page)).toEqual([null, playground.test.apiKey]);

      // One's own link asks nothing.
      await page.evaluate((hash) => (location.hash = hash), new URL(playground.link).hash);
      await page.waitForFunction(() => location.hash === "");
      expect(await page.locator("#key-offer").isVisible()).toBe(false);

      await page.evaluate((hash) => (location.hash = hash), new URL(linkWith(OTHER_KEY)).hash);
      await page.locator("#key-offer").waitFor();
      const third = page.waitForResponse((response) => response.url().endsWith("/v1/account"));
      await page.evaluate((hash) => (location.hash = hash), new URL(linkWith(THIRD_KEY)).hash);
      await third;
      expect(await page.textContent("#key-offer-text")).toContain("of mallory");
      await page.click("#key-offer-use");
      await page.locator("#key-state", { hasText: "of mallory" }).waitFor();
      expect(await storedKeys(page)).toEqual([null, OTHER_KEY]);
      expect(troubles).toEqual([]);
      await page.context().close();
    });

    it("refuses one that is invalid", async () => {
      for (const key of ["wrong", "not a key"]) {
        const { page } = await openPage(playground.browser, linkWith(key));
        await page.locator("#key-error", { hasText: "The API key in the link is invalid." }).waitFor();
        expect(await storedKeys(page)).toEqual([null, null]);
        await page.context().close();
      }
    });
  });
}
