// The playground makes images: from the keyboard, from a suggestion, with partial images; and says what is wrong.

import sharp from "sharp";
import { expect, it } from "vitest";
import { axeViolations } from "../support/axe.ts";
import { BUNDLED } from "../support/bundled.ts";
import { openPage } from "../support/browser.ts";
import { generateImage } from "../support/client.ts";
import {
  bytesOf,
  done,
  expectAccessible,
  fill,
  MADE_MS,
  PROMPT,
  smallTargets,
  tabTo,
  watchTokens,
} from "../support/playground.ts";
import { screenshot } from "../support/screenshots.ts";
import type { Playground } from "./context.ts";

interface Clicked {
  clicked: () => void;
}

/** Registers its tests. */
export function makesImages(playground: Playground): void {
  it("makes an image from the keyboard alone, and shows its tokens as they are unmasked", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 1280, height: 900 } });
    expect(page.url()).toBe(`${playground.test.url}/`);
    const seen = await watchTokens(page);
    await tabTo(page, "prompt");
    await page.keyboard.type(PROMPT);
    await tabTo(page, "preset-fast");
    await page.keyboard.press("Space");
    expect(await page.inputValue("#steps")).toBe("10");
    await tabTo(page, "seed");
    await page.keyboard.type("7");
    await tabTo(page, "more-summary");
    await page.keyboard.press("Space");
    await tabTo(page, "steps");
    await page.keyboard.press("ArrowLeft");
    expect(await page.getAttribute("#preset-fast", "aria-pressed")).toBe("false");
    await page.keyboard.press("ArrowRight");
    expect(await page.getAttribute("#preset-fast", "aria-pressed")).toBe("true");
    await page.focus("#more-summary");
    await page.keyboard.press("Space");
    await page.focus("#prompt");
    await tabTo(page, "make");
    await page.keyboard.press("Enter");
    // Half-way, for the image of it: a step takes a few hundredths of a second.
    await page.waitForFunction(
      () => /^(?:Step [5-9]|Step 10|Done)/.test(document.querySelector("#progress-text")?.textContent ?? ""),
      undefined,
      { polling: "raf", timeout: MADE_MS },
    );
    await screenshot(page, "playground-running");
    await done(page);

    const numberIn = (text: string): number => Number(/^Step (\d+) of 10/.exec(text)?.[1]);
    // What is left changes between steps, too.
    const steps = (await seen())
      .filter(({ text }) => text.startsWith("Step "))
      .filter(({ text }, i, all) => numberIn(text) !== numberIn(all[i - 1]?.text ?? ""));
    expect(steps.map(({ text }) => numberIn(text))).toEqual(Array.from({ length: 10 }, (_, i) => i + 1));
    // A token shown is a token that the text counts as unmasked. Steps can be quicker than frames: then the image is
    // behind the text, at a step that was told before, and it never goes back.
    const counts = steps.map(({ text }) =>
      Number(new RegExp(`· (\\d+) of ${BUNDLED.tokens}`).exec(text)?.[1]),
    );
    for (const [i, { painted }] of steps.entries()) {
      expect([0, ...counts.slice(0, i + 1)]).toContain(painted);
      expect(painted).toBeGreaterThanOrEqual(steps[i - 1]?.painted ?? 0);
    }
    expect(new Set(steps.map(({ painted }) => painted)).size).toBeGreaterThan(5);
    expect(counts.at(-1)).toBe(BUNDLED.tokens);
    expect(await page.textContent("#announcer")).toMatch(/^Done in .* 10 steps · seed 7/);

    const image = page.locator(".frame img:not(.partial)");
    expect(await image.getAttribute("alt")).toBe(PROMPT);
    expect(await image.evaluate((element: HTMLImageElement) => element.naturalWidth)).toBe(BUNDLED.side);
    const shown = Buffer.from(
      await (
        await fetch(new URL((await image.getAttribute("src")) ?? "", playground.test.url))
      ).arrayBuffer(),
    );
    const wanted = await generateImage(playground.test, { prompt: PROMPT, seed: 7, preset: "fast" });
    expect(shown.equals(wanted)).toBe(true);
    await expectAccessible(page);
    await screenshot(page, "playground");

    // The steps can be gone through again.
    await page.fill("#replay", "5");
    expect(await page.locator(".frame canvas:not(.before)").isVisible()).toBe(true);
    expect(await page.textContent("figcaption span")).toMatch(/tokens masked/);
    await page.fill("#replay", "10");
    expect(await image.isVisible()).toBe(true);
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("takes two clicks from the link that npm start prints to a picture", async () => {
    const { page, troubles } = await openPage(playground.browser, playground.link);
    let clicks = 0;
    await page.exposeFunction("clicked", () => void clicks++);
    await page.evaluate(() => {
      // Those of a person: submitting a form clicks its button.
      addEventListener(
        "click",
        ({ isTrusted }) => isTrusted && (window as unknown as Clicked).clicked(),
        true,
      );
    });
    await page.click("#key-offer-use");
    await page.locator("#examples button").first().click();
    await done(page);
    expect(await page.locator(".frame img:not(.partial)").getAttribute("alt")).toBe(
      await page.inputValue("#prompt"),
    );
    await expect.poll(() => clicks).toBe(2);
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("takes a newcomer from a suggestion to its picture, and says which words the model does not know", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 1280, height: 900 } });
    const suggestions = page.locator("#examples button");
    expect(await suggestions.count()).toBe(12);
    expect(await page.textContent("#model-note")).toMatch(/subject/);
    expect(await page.locator("#preset-draft").isVisible()).toBe(true);
    // Without motion it is half-way, and stays so.
    expect(await page.locator("#starter-canvas").evaluate((canvas: HTMLCanvasElement) => canvas.width)).toBe(
      Math.sqrt(BUNDLED.tokens),
    );
    await expectAccessible(page);
    expect(await smallTargets(page)).toEqual([]);

    await screenshot(page, "playground-start");

    await page.fill("#prompt", "a theodolite and a Red fox");
    expect(await page.textContent("#words-unknown")).toBe("This model does not know theodolite.");
    await page.click("#words-open");
    await page.fill("#words-filter", "fox");
    expect(await page.locator("#words-list li").allTextContents()).toEqual(["fox", "foxes"]);
    expect(await axeViolations(page)).toEqual([]);
    await page.keyboard.press("Escape");

    const text = (await suggestions.nth(2).textContent()) ?? "";
    await suggestions.nth(2).click();
    await done(page);
    expect(await page.inputValue("#prompt")).toBe(text);
    expect(await page.textContent("#words-unknown")).toBe("");
    expect(await page.title()).toBe(`✓ ${text} · vqd`);
    const pixels = async (file: string | null): Promise<Buffer> =>
      sharp(await bytesOf(playground.test.url, file))
        .removeAlpha()
        .raw()
        .toBuffer();
    const [made, promised] = [
      await pixels(await page.getAttribute(".frame img:not(.partial)", "src")),
      await pixels(await suggestions.nth(2).locator("img").getAttribute("src")),
    ];
    // The picture on the button is WebP.
    const difference = made.reduce((sum, value, i) => sum + Math.abs(value - (promised[i] ?? 0)), 0);
    expect(difference / made.length).toBeLessThan(4);
    // How long each quality takes is known by now.
    await page.locator("#preset-best small", { hasText: / s$/ }).waitFor();
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("says what is wrong beside the field, and takes the next try", async () => {
    const { page, troubles } = await playground.open();
    await page.click("#make");
    const error = page.locator("#prompt-error");
    await error.waitFor();
    expect(await error.textContent()).toBe("This must not be empty.");
    expect(await page.getAttribute("#prompt", "aria-invalid")).toBe("true");
    expect(await page.getAttribute("#prompt", "aria-describedby")).toContain("prompt-error");
    expect(await page.evaluate(() => document.activeElement?.id)).toBe("prompt");
    await expectAccessible(page);
    await fill(page, { seed: "seven", steps: 2 });
    // What is being corrected is not called wrong any more.
    expect(await page.locator("#prompt-error").count()).toBe(0);
    await page.click("#make");
    await page.locator("#seed-error").waitFor();
    expect(await page.textContent("#seed-error")).toBe("This must be an integer from 0 to 2^64 - 1, or -1.");
    // One seed per image, with all of their digits.
    await page.fill("#seed", "7, 18446744073709551615");
    await page.fill("#outputs", "2");
    await page.keyboard.press("Control+Enter");
    await done(page);
    expect(await page.textContent("#progress-text")).toContain("seed 7,18446744073709551615");
    expect(await page.locator(".error:visible").count()).toBe(0);
    // PNG has no quality to choose.
    expect(await page.isVisible("#quality")).toBe(false);
    await page.selectOption("#format", "webp");
    expect(await page.isVisible("#quality")).toBe(true);
    // The browser itself notes the two refusals; nothing else is wrong.
    const refusals = troubles.filter((trouble) => trouble.includes("422"));
    expect(troubles).toEqual(refusals);
    expect(refusals).toHaveLength(4);
    await page.context().close();
  });

  it("shows partial images in several formats", async () => {
    const { page, troubles } = await playground.open();
    await fill(page, { steps: 20 });
    await page.fill("#previews", "3");
    await page.selectOption("#format", "webp");
    const partial = page.waitForFunction(
      (side) =>
        document.querySelector<HTMLImageElement>(".frame img.partial:not([hidden])")?.naturalWidth === side,
      BUNDLED.side,
      { timeout: MADE_MS },
    );
    await page.click("#make");
    await partial;
    await done(page);
    expect(await page.getAttribute(".frame img:not(.partial)", "src")).toMatch(/0\.webp$/);
    expect(await page.locator(".frame img.partial").isVisible()).toBe(false);
    expect(troubles).toEqual([]);
    await page.context().close();
  });
}
