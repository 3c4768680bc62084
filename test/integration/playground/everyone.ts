// The playground is for everyone: on phones, in the dark, without scripts.

import { expect, it } from "vitest";
import { outOfOrder, overflow, readingOrder, tabStops } from "../support/accessibility.ts";
import { axeViolations } from "../support/axe.ts";
import { openPage } from "../support/browser.ts";
import { done, expectAccessible, fill, progress, PROMPT, sticksOut } from "../support/playground.ts";
import { screenshot } from "../support/screenshots.ts";
import { PHONE, type Playground } from "./context.ts";

/** Registers its tests. */
export function isForEveryone(playground: Playground): void {
  it("is fit for a phone and for dark rooms", async () => {
    const { page, troubles } = await playground.open({ ...PHONE, colorScheme: "dark" });
    const background = (): Promise<string> =>
      page.evaluate(() => getComputedStyle(document.body).backgroundColor);
    expect(await background()).toBe("rgb(23, 21, 19)");
    await fill(page);
    await page.tap("#preset-fast");
    await page.tap("#make");
    await done(page);
    // Where nothing can be hovered, the tools are simply there.
    expect(await page.isVisible('[data-tool="vary"]')).toBe(true);
    await expectAccessible(page);
    const { width = 0 } = (await page.locator(".frame").boundingBox()) ?? {};
    expect(width).toBeGreaterThan(250);
    await page.evaluate(() => document.querySelector(".stage")?.scrollIntoView());
    await screenshot(page, "playground-phone-dark");
    await page.emulateMedia({ colorScheme: "light" });
    expect(await background()).toBe("rgb(246, 244, 240)");
    await page.click("#key-panel summary");
    await expectAccessible(page);
    await page.keyboard.press("Escape");

    // At each width and in each view nothing sticks out.
    for (const view of ["image", "api", "details"]) {
      await page.click(`#view-${view}`);
      for (const size of [320, 390, 769, 820, 900, 1280, 1920]) {
        await page.setViewportSize({ width: size, height: 900 });
        expect(await overflow(page), `${view} at ${size}`).toBeLessThanOrEqual(0);
        expect(await sticksOut(page), `${view} at ${size}`).toEqual([]);
      }
    }
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("says without JavaScript what it needs, and shows people a page for what does not exist", async () => {
    const { page } = await openPage(playground.browser, playground.test.url, { javaScriptEnabled: false });
    expect(await page.isVisible("#prompt")).toBe(false);
    expect(await page.textContent("body")).toContain("needs JavaScript");
    await page.goto(`${playground.test.url}/no/such/page`);
    expect(await page.textContent("h1")).toBe("There is nothing at this address");
    await page.context().close();
    const answer = await fetch(`${playground.test.url}/no/such/page`);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "application/problem+json"]);
  });

  it("tells every state where colours are the system's", async () => {
    const { page, troubles } = await playground.open({
      viewport: { width: 1280, height: 900 },
      forcedColors: "active",
    });
    const style = (selector: string, property: string): Promise<string> =>
      page
        .locator(selector)
        .evaluate((element, name) => getComputedStyle(element).getPropertyValue(name), property);
    const fills = (...selectors: string[]): Promise<string[]> =>
      Promise.all(selectors.map((selector) => style(selector, "background-color")));
    await page.focus("#prompt");
    await page.keyboard.type(PROMPT);
    const [chosen, other] = await fills("#preset-best", "#preset-fast");
    expect(chosen).not.toBe(other);
    await page.click("#preset-draft");
    expect(await fills("#preset-draft", "#preset-best")).toEqual([chosen, other]);
    await page.click("#make");
    await progress(page, /^(?:Step|Done)/);
    await done(page);
    const [view, otherView] = await fills("#view-image", "#view-api");
    expect(view).not.toBe(otherView);
    // Tokens are a picture, whose colours are its own.
    await page.fill("#replay", "2");
    expect(await style(".frame canvas:not(.before)", "forced-color-adjust")).toBe("none");
    await page.locator("#history-list a[aria-current]").waitFor();
    expect(await style("#history-list a[aria-current]", "border-bottom-width")).toBe("3px");
    expect(await style("#history-list a[aria-current]", "border-bottom-color")).toBe(
      await style("nav a[aria-current]", "border-bottom-color"),
    );
    await page.locator("#history-list li").first().hover();
    await page.locator("#history-list .remove").first().click();
    expect(await style("#toast", "border-top-style")).toBe("solid");
    await page.click("#undo");
    // What has the focus has a ring, whatever its state.
    await page.focus("#theme");
    const stops = await tabStops(page, 40);
    expect(stops.length).toBeGreaterThan(30);
    expect(stops.filter(({ hasRing }) => !hasRing)).toEqual([]);
    expect(await axeViolations(page)).toEqual([]);
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("stays still for whoever wants no motion, and moves for others", async () => {
    for (const reducedMotion of ["reduce", "no-preference"] as const) {
      const context = await playground.browser.newContext({ reducedMotion });
      const page = await context.newPage();
      await page.clock.install();
      await page.goto(playground.test.url);
      await page.locator("#examples img").first().waitFor();
      const picture = (): Promise<string> =>
        page.locator("#starter-canvas").evaluate((canvas: HTMLCanvasElement) => canvas.toDataURL());
      const seen = new Set<string>();
      for (let i = 0; i < 4; i++) {
        await page.clock.runFor(1_000);
        seen.add(await picture());
      }
      await page.hover("#make");
      const moving = await page.evaluate(() => document.getAnimations().length);
      if (reducedMotion === "reduce") expect([seen.size, moving]).toEqual([1, 0]);
      else expect(seen.size).toBeGreaterThan(1);
      await context.close();
    }
  });

  it("loses nothing at 200 % and 400 %", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 640, height: 512 } });
    await fill(page, { steps: 2 });
    await page.click("#grid summary");
    await page.click("#make");
    await done(page);
    for (const size of [
      { width: 640, height: 512 },
      { width: 320, height: 256 },
    ]) {
      await page.setViewportSize(size);
      for (const view of ["image", "api", "details"]) {
        await page.click(`#view-${view}`);
        expect(await overflow(page), `${view} at ${size.width}`).toBeLessThanOrEqual(0);
        expect(await sticksOut(page), `${view} at ${size.width}`).toEqual([]);
      }
      await page.click("#view-image");
      // What has the focus is in sight.
      await page.focus("#theme");
      const stops = await tabStops(page, 60);
      expect(stops.length).toBeGreaterThan(40);
      expect(
        stops.filter(({ isCovered }) => isCovered),
        `at ${size.width}`,
      ).toEqual([]);
      expect(stops.filter(({ hasRing, id }) => !hasRing && id !== "prompt")).toEqual([]);
      // Dialogs are within the window, and what does not fit is scrolled to.
      const fits = (id: string): Promise<boolean> =>
        page.locator(id).evaluate((element) => {
          const { top, bottom, left, right } = element.getBoundingClientRect();
          const isScrollable =
            element.scrollHeight <= element.clientHeight + 1 ||
            getComputedStyle(element).overflowY === "auto";
          return top >= 0 && left >= 0 && right <= innerWidth && bottom <= innerHeight && isScrollable;
        });
      await page.locator('[data-tool="open"]').focus();
      await page.keyboard.press("Enter");
      expect(await fits("#large"), `large at ${size.width}`).toBe(true);
      await page.keyboard.press("Escape");
      await page.evaluate(() => {
        document.querySelector<HTMLDialogElement>("#pair")?.showModal();
      });
      expect(await fits("#pair"), `pair at ${size.width}`).toBe(true);
      await page.keyboard.press("Escape");
    }
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("is read in the order in which it is used", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 1400, height: 900 } });
    const start = [
      "link Skip to the prompt",
      "navigation Pages",
      "link Playground",
      "link Console",
      "heading Playground",
      "textbox Prompt",
      "button Make it",
      "group Quality",
      "group Images",
      "textbox Seed",
      "button Roll a seed",
    ];
    const settings = ["slider Steps", "slider Guidance", "spinbutton Images", "combobox Negative prompt"];
    await page.locator("#examples button").first().waitFor();
    const before = await readingOrder(page);
    const starter = ["heading Pictures, made token by token", "list Example prompts"];
    expect(outOfOrder(before, [...start, ...settings, ...starter])).toEqual([]);
    await fill(page, { steps: 2 });
    await page.click("#make");
    await done(page);
    const after = await readingOrder(page);
    const run = [
      `heading ${PROMPT}`,
      "tablist Views of the run",
      "tab Image",
      "button Share",
      "tabpanel Image",
      `img ${PROMPT}`,
      "button Open large",
      "slider Steps",
      "button Fork here",
      "heading History",
    ];
    expect(outOfOrder(after, [...start, ...settings, ...run])).toEqual([]);
    expect(troubles).toEqual([]);
    await page.context().close();
  });
}
