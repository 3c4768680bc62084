// The playground starts from pictures.

import sharp from "sharp";
import { expect, it } from "vitest";
import { overflow } from "../support/accessibility.ts";
import { BUNDLED } from "../support/bundled.ts";
import { done, expectAccessible, fill, openSettings } from "../support/playground.ts";
import { PHONE, type Playground } from "./context.ts";

/** Registers its tests. */
export function startsFromPictures(playground: Playground): void {
  it("starts from a picture, painted over by keyboard and pointer, and from a step of what was made", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 1280, height: 900 } });
    const { side } = BUNDLED;
    /** Makes an image, which is not the one that is done already. */
    const make = async (button: string): Promise<void> => {
      await page.evaluate(() => document.querySelector("#progress-text")?.replaceChildren());
      await page.click(button);
      await done(page);
    };
    const picture = await sharp(
      Uint8Array.from({ length: 3 * side * side }, (_, i) => (i * 97 + (i >> 3) * 31) % 256),
      { raw: { width: side, height: side, channels: 3 } },
    )
      .png()
      .toBuffer();
    await openSettings(page);
    await page.click("#start summary");
    await page.setInputFiles("#start-file", { name: "a.png", mimeType: "image/png", buffer: picture });
    await page.locator("#start-picture").waitFor();
    expect(await page.inputValue("#start-strength")).toBe("0.8");

    // Row 1, columns 1 and 2 by the keyboard; row 9 by the pointer, from its first cell to its fourth.
    await page.locator("#cells button").first().focus();
    await page.keyboard.press("Space");
    await page.keyboard.press("ArrowRight");
    await page.keyboard.press("Space");
    const cell = async (row: number, column: number): Promise<[number, number]> => {
      const name = `Row ${row}, column ${column}`;
      const {
        x = 0,
        y = 0,
        width = 0,
        height = 0,
      } = (await page.getByRole("button", { name, exact: true }).boundingBox()) ?? {};
      return [x + width / 2, y + height / 2];
    };
    await page.locator("#cells").scrollIntoViewIfNeeded();
    await page.mouse.move(...(await cell(9, 1)));
    await page.mouse.down();
    await page.mouse.move(...(await cell(9, 4)), { steps: 20 });
    await page.mouse.up();
    const painted = page.locator('#cells button[aria-pressed="true"]');
    expect(await painted.evaluateAll((cells) => cells.map((one) => one.getAttribute("aria-label")))).toEqual([
      "Row 1, column 1",
      "Row 1, column 2",
      ...[1, 2, 3, 4].map((column) => `Row 9, column ${column}`),
    ]);
    expect(await page.inputValue("#start-strength")).toBe("1");
    await expectAccessible(page);
    await fill(page);
    await make("#make");
    const image = page.locator(".frame img:not(.partial)");
    const shownImage = async (): Promise<Buffer> => {
      const src = new URL((await image.getAttribute("src")) ?? "", playground.test.url);
      return Buffer.from(await (await fetch(src)).arrayBuffer());
    };
    const pixels = (file: Buffer): Promise<Buffer> => sharp(file).removeAlpha().raw().toBuffer();
    const edited = await shownImage();
    const [before, after] = [await pixels(picture), await pixels(edited)];
    const changed = new Set<string>();
    for (let i = 0; i < before.length; i++) {
      if (before[i] === after[i]) continue;
      const at = Math.floor(i / 3);
      const of = (place: number): number => Math.floor((place * 16) / side) + 1;
      changed.add(`Row ${of(Math.floor(at / side))}, column ${of(at % side)}`);
    }
    const masked = await painted.evaluateAll((cells) =>
      cells.map((one) => one.getAttribute("aria-label") ?? ""),
    );
    // Linear interpolation of the mask at the same size moves nothing.
    expect([...changed].toSorted()).toEqual(masked.toSorted());

    // From what was made, without a mask.
    await page.click("#start-remove");
    expect(await page.isVisible("#start-picture")).toBe(false);
    await make("#make");
    const plain = await shownImage();
    await page.fill("#replay", "4");
    await make("#fork");
    // Nothing was changed.
    expect((await pixels(await shownImage())).equals(await pixels(plain))).toBe(true);
    await page.fill("#replay", "4");
    await page.fill("#prompt", "red apple");
    await make("#fork");
    expect((await pixels(await shownImage())).equals(await pixels(plain))).toBe(false);
    // Whatever the pointer hovers, the keyboard reaches.
    await page.focus('[data-tool="edit"]');
    await page.keyboard.press("Enter");
    await page.locator("#start-picture").waitFor();
    await page.setViewportSize({ width: 390, height: 844 });
    expect(await overflow(page)).toBeLessThanOrEqual(0);
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("is painted by a finger on a phone, and compares before and after", async () => {
    const { page, troubles } = await playground.open(PHONE);
    const { side } = BUNDLED;
    const color = { r: 255, g: 0, b: 0 };
    const picture = await sharp({ create: { width: side, height: side, channels: 3, background: color } })
      .png()
      .toBuffer();
    await openSettings(page);
    await page.tap("#start summary");
    await page.setInputFiles("#start-file", { name: "a.png", mimeType: "image/png", buffer: picture });
    await page.locator("#start-picture").waitFor();
    await page.locator("#cells").scrollIntoViewIfNeeded();
    const { x = 0, y = 0, width = 0, height = 0 } = (await page.locator("#cells").boundingBox()) ?? {};
    const scrolled = await page.evaluate(() => scrollY);
    const touch = await page.context().newCDPSession(page);
    const at = (row: number, column: number) => ({
      x: x + ((column - 0.5) * width) / 16,
      y: y + ((row - 0.5) * height) / 16,
    });
    /** From cell to cell down a column, which would scroll the page elsewhere. */
    const drag = async (column: number, from: number, to: number): Promise<void> => {
      const points = Array.from({ length: to - from + 1 }, (_, i) => at(from + i, column));
      for (const [i, point] of points.entries()) {
        const type = i === 0 ? "touchStart" : "touchMove";
        await touch.send("Input.dispatchTouchEvent", { type, touchPoints: [point] });
      }
      await touch.send("Input.dispatchTouchEvent", { type: "touchEnd", touchPoints: [] });
    };
    const painted = (): Promise<(string | null)[]> =>
      page
        .locator('#cells button[aria-pressed="true"]')
        .evaluateAll((cells) => cells.map((one) => one.getAttribute("aria-label")));
    await drag(10, 3, 8);
    const stroke = [3, 4, 5, 6, 7, 8].map((row) => `Row ${row}, column 10`);
    expect(await painted()).toEqual(stroke);
    // A stroke that begins on paint wipes it off.
    await drag(10, 3, 4);
    expect(await painted()).toEqual(stroke.slice(2));
    expect(await page.evaluate(() => scrollY)).toBe(scrolled);

    expect(await page.isVisible("#compare-field")).toBe(false);
    await fill(page, { steps: 5 });
    await page.click("#make");
    await done(page);
    await page.locator("#compare-field").waitFor();
    /** The colour of a cell as it is shown. */
    const shown = async (row: number, column: number): Promise<number[]> => {
      const { data, info } = await sharp(await page.locator(".frame").screenshot())
        .removeAlpha()
        .raw()
        .toBuffer({ resolveWithObject: true });
      const place = (cell: number, size: number): number => Math.floor(((cell - 0.5) * size) / 16);
      const start = 3 * (place(row, info.height) * info.width + place(column, info.width));
      return Array.from(data.subarray(start, start + 3));
    };
    const red = [255, 0, 0];
    expect(await shown(6, 2)).toEqual(red);
    const after = await shown(6, 10);
    expect(after).not.toEqual(red);
    await page.fill("#compare", "50");
    expect(await page.inputValue("#compare")).toBe("50");
    expect(await shown(6, 10)).toEqual(after);
    await page.fill("#compare", "100");
    expect(await shown(6, 10)).toEqual(red);
    await expectAccessible(page);
    // Without a picture there is nothing to compare with.
    await page.click("#start-remove");
    await page.evaluate(() => document.querySelector("#progress-text")?.replaceChildren());
    await page.click("#make");
    await done(page);
    expect(await page.isVisible("#compare-field")).toBe(false);
    expect(troubles).toEqual([]);
    await page.context().close();
  });
}
