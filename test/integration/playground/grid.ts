// Grids of one prompt in the playground.

import { readFile } from "node:fs/promises";
import type { Page } from "playwright-core";
import sharp from "sharp";
import { expect, it } from "vitest";
import { overflow } from "../support/accessibility.ts";
import { BUNDLED } from "../support/bundled.ts";
import { generateImage, getPrediction } from "../support/client.ts";
import {
  bytesOf,
  done,
  expectAccessible,
  fill,
  MADE_MS,
  PROMPT,
  smallTargets,
  sticksOut,
} from "../support/playground.ts";
import { screenshot } from "../support/screenshots.ts";
import type { Playground } from "./context.ts";

/** Resolves when the line below the grid says that. */
const says = (page: Page, text: RegExp): Promise<void> =>
  page.locator("#sheet-text", { hasText: text }).waitFor({ timeout: MADE_MS });

/** How often the page asks for a prediction. */
function countCreated(page: Page): () => number {
  let count = 0;
  page.on("request", (request) => {
    if (request.method() === "POST" && request.url().endsWith("/v1/predictions")) count++;
  });
  return () => count;
}

/** Ids of the grid's runs, from its address. */
const idsOf = (page: Page): string[] =>
  (new URLSearchParams(new URL(page.url()).hash.slice(1)).get("grid") ?? "").split(".");

/** Registers its tests. */
export function makesGrids(playground: Playground): void {
  it("makes a grid over seeds and settings: said before, labelled, kept by its address, saved as one picture", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 1400, height: 900 } });
    const created = countCreated(page);
    await fill(page, { steps: 2 });
    await page.click("#grid summary");
    await page.selectOption("#grid-x", "num_inference_steps");
    await page.fill("#grid-x-values", "5, 10");
    await page.selectOption("#grid-y", "seed");
    await page.fill("#grid-y-values", "7, 8");
    expect(await page.textContent("#grid-plan")).toMatch(/^4 images/);
    await page.focus("#grid-y-values");
    await page.keyboard.press("Enter");
    await says(page, /^Done: 4 images$/);
    expect(created()).toBe(4);
    expect(await page.locator("#sheet-table th").allTextContents()).toEqual([
      "Steps 5",
      "Steps 10",
      "Seed 7",
      "Seed 8",
    ]);
    expect(await page.title()).toBe(`✓ ${PROMPT} · grid · vqd`);
    await expectAccessible(page);
    expect(await smallTargets(page)).toEqual([]);
    await screenshot(page, "playground-grid");
    const cell = page.getByRole("button", { name: "Steps 10, Seed 7: open large" });
    const made = await bytesOf(playground.test.url, await cell.locator("img").getAttribute("src"));
    const wanted = await generateImage(playground.test, { prompt: PROMPT, seed: 7, num_inference_steps: 10 });
    expect(made.equals(wanted)).toBe(true);
    // What has been measured tells what the next one takes.
    await page.fill("#grid-x-values", "50, 100");
    await expect.poll(() => page.textContent("#grid-plan")).toMatch(/^4 images, about \d+ (?:s|min)$/);

    const saved = page.waitForEvent("download");
    await page.click("#sheet-save");
    const download = await saved;
    expect(download.suggestedFilename()).toBe("fox-flat-style-grid.png");
    const sheet = sharp(await readFile(await download.path()));
    const { width, height } = await sheet.metadata();
    const { side } = BUNDLED;
    expect([width > 2 * side, height > 2 * side]).toEqual([true, true]);
    // The place at the top right, below the title and the labels of the columns.
    const place = sheet.extract({ left: width - side, top: height - 2 * side, width: side, height: side });
    const pixels = await place.removeAlpha().raw().toBuffer();
    expect(pixels.equals(await sharp(made).removeAlpha().raw().toBuffer())).toBe(true);

    // Each is a run of its own, with its settings; and the way back leads to the grid.
    await cell.click();
    await page.click("#large-run");
    await done(page);
    expect(page.url()).toContain("#run=");
    expect([await page.inputValue("#steps"), await page.inputValue("#seed")]).toEqual(["10", "7"]);
    await page.goBack();
    await page.locator("#sheet-title", { hasText: PROMPT }).waitFor();
    await page.reload();
    await says(page, /^Done: 4 images$/);
    expect(await page.locator("#sheet-table img").count()).toBe(4);
    expect(await page.inputValue("#grid-x-values")).toBe("5, 10");
    expect(created()).toBe(4);
    for (const size of [320, 390, 1920]) {
      await page.setViewportSize({ width: size, height: 900 });
      expect(await overflow(page), `${size}`).toBeLessThanOrEqual(0);
      expect(await sticksOut(page), `${size}`).toEqual([]);
    }
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("says what is wrong with a grid, waits when it is told to, cancels all of it, and makes the rest", async () => {
    const { page, troubles } = await playground.open();
    await fill(page, { steps: 30 });
    await page.click("#grid summary");
    await page.selectOption("#grid-x", "guidance_scale");
    for (const [values, text] of [
      ["1", "Guidance: the values must be 2 to 5, with commas between them."],
      ["1, 1", "Guidance: the values must differ from each other."],
      ["1, 99", "Guidance: the values must be numbers from 1 to 20, not “99”."],
    ] as const) {
      await page.fill("#grid-x-values", values);
      await page.click("#grid-make");
      expect(await page.textContent("#grid-error")).toBe(text);
      expect(await page.evaluate(() => document.activeElement?.id)).toBe("grid-x-values");
    }
    await expectAccessible(page);
    await page.fill("#grid-x-values", "1, 3, 5");
    expect(await page.isVisible("#grid-error")).toBe(false);
    const refusals = ["1"];
    await page.route("**/v1/predictions", (route) => {
      const after = refusals.shift();
      if (after === undefined) return route.fallback();
      const headers = { "retry-after": after };
      return route.fulfill({ status: 429, headers, json: { detail: "too many requests" } });
    });
    await page.click("#grid-make");
    await says(page, /^0 of 3 images · too many requests · waiting 1 s$/);
    // It goes on by itself, two at a time.
    await page.locator('#sheet-table button[aria-label*="step "]').first().waitFor({ timeout: MADE_MS });
    await page.keyboard.press("Escape");
    await says(page, /^\d of 3 images · canceled$/);
    const ids = idsOf(page).filter((id) => id !== "");
    expect(ids.length).toBeGreaterThan(0);
    const ended = await Promise.all(ids.map(async (id) => (await getPrediction(playground.test, id)).status));
    expect(ended.filter((status) => status === "starting" || status === "processing")).toEqual([]);
    await page.click("#sheet-rest");
    await says(page, /^Done: 3 images$/);
    expect(troubles.filter((trouble) => !trouble.includes("429"))).toEqual([]);
    await page.context().close();
  });
}
