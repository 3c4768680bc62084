// The playground as tests use it: filled in, waited for, and looked over.

import type { Page } from "playwright-core";
import { expect } from "vitest";
import { faintTexts, overflow, structureFaults, unnamedControls } from "./accessibility.ts";
import { axeViolations } from "./axe.ts";

export const PROMPT = "fox, flat style";
/** More than any machine needs for an image. */
export const MADE_MS = 90_000;

/** Presses Tab until the element with that selector has the focus; fails if it is never reached. */
export async function tabToThe(page: Page, selector: string): Promise<void> {
  const reached: string[] = [];
  for (let i = 0; i < 100; i++) {
    const [isThere, focused] = await page.evaluate((wanted) => {
      const { activeElement: element } = document;
      return [element?.matches(wanted) === true, element?.id ?? ""] as const;
    }, selector);
    if (isThere) return;
    reached.push(focused);
    await page.keyboard.press("Tab");
  }
  throw new Error(`Tab does not reach ${selector}, only ${reached.join(" ")}`);
}
export const tabTo = (page: Page, id: string): Promise<void> => tabToThe(page, `#${id}`);

/** Notes, at each change of the progress text, how many tokens of the first image have a colour. */
export async function watchTokens(page: Page): Promise<() => Promise<{ text: string; painted: number }[]>> {
  await page.evaluate(() => {
    const seen: { text: string; painted: number }[] = [];
    Object.assign(window, { seen });
    const text = document.querySelector("#progress-text");
    if (text === null) throw new Error("no progress");
    new MutationObserver(() => {
      const canvas = document.querySelector<HTMLCanvasElement>(".frame canvas");
      const data = canvas?.getContext("2d")?.getImageData(0, 0, canvas.width, canvas.height).data ?? [];
      let painted = 0;
      for (let i = 3; i < data.length; i += 4) if (data[i] === 255) painted++;
      seen.push({ text: text.textContent ?? "", painted });
    }).observe(text, { childList: true, characterData: true, subtree: true });
  });
  return () => page.evaluate(() => (window as unknown as { seen: { text: string; painted: number }[] }).seen);
}

/** Resolves when the progress text is like `text`. */
export const progress = (page: Page, text: RegExp): Promise<void> =>
  page.locator("#progress-text", { hasText: text }).waitFor({ timeout: MADE_MS });
export const done = (page: Page): Promise<void> => progress(page, /^Done/);

/** Opens the settings, which are a column of their own where there is room. */
export async function openSettings(page: Page): Promise<void> {
  if (!(await page.isVisible("#steps"))) await page.click("#more-summary");
}

/** Fills in what makes an image quickly. */
export async function fill(page: Page, { prompt = PROMPT, steps = 10, seed = "7" } = {}): Promise<void> {
  await openSettings(page);
  await page.fill("#prompt", prompt);
  await page.fill("#steps", String(steps));
  await page.fill("#seed", seed);
}

/** The bytes of a link on the page. */
export async function bytesOf(base: string, link: string | null): Promise<Buffer> {
  return Buffer.from(await (await fetch(new URL(link ?? "", base))).arrayBuffer());
}

export async function expectAccessible(page: Page): Promise<void> {
  const { named, unnamed } = await unnamedControls(page);
  expect(unnamed).toEqual([]);
  expect(named).toBeGreaterThan(5);
  expect(await structureFaults(page)).toEqual([]);
  expect(await faintTexts(page)).toEqual([]);
  expect(await axeViolations(page)).toEqual([]);
  expect(await overflow(page)).toBeLessThanOrEqual(0);
}

/** Parts of cards that are wider than those. */
export const sticksOut = (page: Page): Promise<string[]> =>
  page.evaluate(() =>
    [...document.querySelectorAll(".card")].flatMap((card) => {
      const { right } = card.getBoundingClientRect();
      return [...card.querySelectorAll("button, pre, input, img, canvas, p")].flatMap((part) =>
        part.getClientRects().length > 0 && part.getBoundingClientRect().right > right + 0.5
          ? [`${part.tagName} #${part.id}`]
          : [],
      );
    }),
  );

/** Controls whose target is below 24 by 24 pixels (WCAG 2.5.8), those in sentences excepted; and the mask's cells. */
export const smallTargets = (page: Page): Promise<string[]> =>
  page.evaluate(() =>
    [...document.querySelectorAll("button, summary, input, select, textarea, nav a, li a")].flatMap(
      (element) => {
        const { width, height } = element.getBoundingClientRect();
        const isExempt = width === 0 || element.closest("#cells") !== null;
        return isExempt || (width >= 24 && height >= 24)
          ? []
          : [`${element.id || (element.textContent ?? "")}: ${width} x ${height}`];
      },
    ),
  );
