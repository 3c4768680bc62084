// The playground and the reference in a real browser, on the running system.

import { execFile } from "node:child_process";
import { createHash } from "node:crypto";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser, BrowserContextOptions, Page } from "playwright-core";
import sharp from "sharp";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { REPO } from "../../infra/stack/paths.ts";
import { BUNDLED } from "./support/bundled.ts";
import { axeViolations } from "./support/axe.ts";
import { faintTexts, overflow, unnamedControls } from "./support/accessibility.ts";
import { chromiumPath, launchBrowser, openPage, type WatchedPage } from "./support/browser.ts";
import { createPrediction, generateImage, getPrediction, request } from "./support/client.ts";
import {
  bytesOf,
  done,
  expectAccessible,
  fill,
  MADE_MS,
  openSettings,
  progress,
  PROMPT,
  smallTargets,
  sticksOut,
  tabTo,
  watchTokens,
} from "./support/playground.ts";
import { screenshot } from "./support/screenshots.ts";
import { startTestStack, type TestStack } from "./support/stack.ts";

const OTHER_KEY = "key-of-somebody-else";
const THIRD_KEY = "key-of-a-third";
const PHONE: BrowserContextOptions = {
  viewport: { width: 390, height: 844 },
  hasTouch: true,
  isMobile: true,
};

if (chromiumPath === undefined) {
  it.skip("the pages in a browser: no Chromium found on the PATH or in VQD_CHROMIUM", () => {});
}

describe.skipIf(chromiumPath === undefined)("the playground", () => {
  let test: TestStack;
  let browser: Browser;
  let link: string;
  /** A page with the stack's key, which the link brings. */
  async function open(options?: BrowserContextOptions): Promise<WatchedPage> {
    const opened = await openPage(browser, link, options);
    await opened.page.click("#key-offer-use");
    await opened.page.locator("#key-state", { hasText: "of dev" }).waitFor();
    return opened;
  }

  beforeAll(async () => {
    const apiKey = "key-of-the-test";
    const hash = (key: string): string => createHash("sha256").update(key).digest("hex");
    const keys = { dev: apiKey, mallory: OTHER_KEY, third: THIRD_KEY };
    const edgeEnv = {
      API_KEYS: Object.entries(keys)
        .map(([name, key]) => `${name}:${hash(key)}`)
        .join(","),
    };
    [test, browser] = await Promise.all([startTestStack({ workers: 1, apiKey, edgeEnv }), launchBrowser()]);
    link = `${test.url}/#key=${encodeURIComponent(test.apiKey)}`;
  });
  afterAll(async () => {
    await browser?.close();
    await test?.stop();
  });

  it("makes an image from the keyboard alone, and shows its tokens as they are unmasked", async () => {
    const { page, troubles } = await open({ viewport: { width: 1280, height: 900 } });
    expect(page.url()).toBe(`${test.url}/`);
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
      await (await fetch(new URL((await image.getAttribute("src")) ?? "", test.url))).arrayBuffer(),
    );
    const wanted = await generateImage(test, { prompt: PROMPT, seed: 7, preset: "fast" });
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

  it("starts from a picture, painted over by keyboard and pointer, and from a step of what was made", async () => {
    const { page, troubles } = await open({ viewport: { width: 1280, height: 900 } });
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
      const src = new URL((await image.getAttribute("src")) ?? "", test.url);
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
    const { page, troubles } = await open(PHONE);
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

  it("takes a newcomer from a suggestion to its picture, and says which words the model does not know", async () => {
    const { page, troubles } = await open({ viewport: { width: 1280, height: 900 } });
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
      sharp(await bytesOf(test.url, file))
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

  it("gives code that makes the same image", async () => {
    const { page, troubles } = await open();
    await fill(page, { prompt: 'it\'s a "red" apple $HOME', steps: 5 });
    await page.click("#make");
    await done(page);
    const shown = await bytesOf(test.url, await page.locator(".frame img:not(.partial)").getAttribute("src"));
    await page.click("#view-api");
    expect(await page.textContent("#code-text")).toContain('"preset": "draft"');
    expect(JSON.parse((await page.textContent("#answer")) ?? "")).toMatchObject({ status: "succeeded" });
    const env = { ...process.env, VQD_API_KEY: test.apiKey };
    const code = async (tab: string): Promise<string> => {
      await page.click(`#tab-${tab}`);
      const text = (await page.textContent("#code-text")) ?? "";
      expect(text).not.toContain(test.apiKey);
      return text;
    };
    const bytes = async (url: string | undefined): Promise<Buffer> =>
      Buffer.from(await (await fetch(url ?? "")).arrayBuffer());

    const curl = await promisify(execFile)("sh", ["-c", await code("curl")], { env });
    const { output } = JSON.parse(curl.stdout) as { output: string[] };
    expect((await bytes(output[0])).equals(shown)).toBe(true);

    const run = (source: string): Promise<{ stdout: string }> =>
      promisify(execFile)(process.execPath, ["--input-type=module", "--eval", source], { cwd: REPO, env });
    const replicate = await run(await code("replicate"));
    expect((await bytes(/https?:[^'"\s]+/.exec(replicate.stdout)?.[0])).equals(shown)).toBe(true);
    const openai = (await code("openai")).replace(
      'writeFileSync(`image-${i}.png`, b64_json, "base64")',
      "console.log(b64_json)",
    );
    expect(Buffer.from((await run(openai)).stdout.trim(), "base64").equals(shown)).toBe(true);

    // Without packages, and in one paste: with the key.
    const folder = await mkdtemp(join(tmpdir(), "vqd-snippets-"));
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    for (const [tab, program, flag] of [
      ["javascript", process.execPath, "--input-type=module"],
      ["python", "python3", "-"],
    ] as const) {
      await page.click(`#tab-${tab}`);
      await page.click("#copy-code-key");
      await page.locator("#copy-code-key", { hasText: "Copied" }).waitFor();
      const pasted = await page.evaluate(() => navigator.clipboard.readText());
      const running = promisify(execFile)(program, [flag], {
        cwd: folder,
        env: { PATH: process.env["PATH"] },
      });
      running.child.stdin?.end(pasted);
      expect((await running).stdout).toBe("image-0.png\n");
      expect((await readFile(join(folder, "image-0.png"))).equals(shown), tab).toBe(true);
      await rm(join(folder, "image-0.png"));
    }
    await rm(folder, { recursive: true });
    await expectAccessible(page);
    await page.click("#view-details");
    expect(await page.textContent("#details")).toContain("draft");
    await expectAccessible(page);

    // Tabs go by arrow keys.
    await page.click("#view-api");
    await page.focus("#tab-openai");
    await page.keyboard.press("ArrowLeft");
    expect(await page.getAttribute("#tab-python", "aria-selected")).toBe("true");
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("says what is wrong beside the field, and takes the next try", async () => {
    const { page, troubles } = await open();
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

  it("asks for a key on a phone, where its form is in sight, and then makes what was asked", async () => {
    const { page } = await openPage(browser, test.url, PHONE);
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
    await page.fill("#key", test.apiKey);
    await page.keyboard.press("Enter");
    await done(page);
    expect(
      await page.evaluate(() => [localStorage.getItem("vqd.key"), sessionStorage.getItem("vqd.key")]),
    ).toEqual([null, test.apiKey]);
    await page.context().close();
  });

  describe("asked to use the key of a link", () => {
    const storedKeys = (page: Page): Promise<(string | null)[]> =>
      page.evaluate(() => [localStorage.getItem("vqd.key"), sessionStorage.getItem("vqd.key")]);
    const linkWith = (key: string): string => `${test.url}/#key=${encodeURIComponent(key)}`;

    it("says whose it is and what that means, and does so only if told to", async () => {
      const { page, troubles } = await openPage(browser, `${link}&prompt=pizza`);
      const offer = page.locator("#key-offer");
      await offer.waitFor();
      expect(page.url()).toBe(`${test.url}/#prompt=pizza`);
      expect(await storedKeys(page)).toEqual([null, null]);
      expect(await page.textContent("#key-offer-text")).toBe(
        `The link contains the API key …${test.apiKey.slice(-4)} of dev. What you generate with it belongs to dev, ` +
          "who can see your prompts and images.",
      );
      expect(await page.locator("#key-offer-current").isVisible()).toBe(false);
      expect((await unnamedControls(page)).unnamed).toEqual([]);
      expect(await faintTexts(page)).toEqual([]);
      await page.click("#key-offer-refuse");
      expect(await storedKeys(page)).toEqual([null, null]);

      await page.evaluate((hash) => (location.hash = hash), new URL(link).hash);
      await page.click("#key-offer-use");
      await page.locator("#key-state", { hasText: "of dev" }).waitFor();
      expect(await storedKeys(page)).toEqual([null, test.apiKey]);
      expect(troubles).toEqual([]);
      await page.context().close();
    });

    it("keeps the key it has, unless told otherwise, and asks one question at a time", async () => {
      const { page, troubles } = await open();
      await page.evaluate((hash) => (location.hash = hash), new URL(linkWith(OTHER_KEY)).hash);
      await page.locator("#key-offer").waitFor();
      expect(await page.textContent("#key-offer-text")).toContain("of mallory");
      expect(await page.textContent("#key-offer-current")).toContain(`…${test.apiKey.slice(-4)}`);
      // Enter is pressed before anything is read.
      await page.keyboard.press("Enter");
      expect(await page.locator("#key-offer").isVisible()).toBe(false);
      expect(await storedKeys(page)).toEqual([null, test.apiKey]);

      await page.evaluate((hash) => (location.hash = hash), new URL(linkWith(OTHER_KEY)).hash);
      await page.locator("#key-offer").waitFor();
      await page.keyboard.press("Escape");
      expect(await storedKeys(page)).toEqual([null, test.apiKey]);

      // One's own link asks nothing.
      await page.evaluate((hash) => (location.hash = hash), new URL(link).hash);
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
        const { page } = await openPage(browser, linkWith(key));
        await page.locator("#key-error", { hasText: "The API key in the link is invalid." }).waitFor();
        expect(await storedKeys(page)).toEqual([null, null]);
        await page.context().close();
      }
    });
  });

  it("keeps runs as pages: after a reload in the middle, by back and forward, and for whoever has the link", async () => {
    const { page, troubles } = await open({ viewport: { width: 1400, height: 900 } });
    await fill(page, { steps: 50, seed: "" });
    await page.click("#make");
    await progress(page, /^Step /);
    expect(page.url()).toMatch(/#run=\w{26}$/);
    const first = page.url();
    await page.reload();
    // It goes on where it is, with its steps so far.
    await progress(page, /^Step \d+ of 50/);
    expect(await page.textContent("#make")).toBe("Cancel");
    await done(page);
    expect(await page.textContent("#make")).toBe("Make it");
    expect(await page.inputValue("#replay")).toBe("50");
    const seed = /seed (\d+)/.exec((await page.textContent("#progress-text")) ?? "")?.[1] ?? "";
    await page.fill("#seed", "");
    await page.hover("figure");
    await page.click('[data-tool="seed"]');
    expect(await page.inputValue("#seed")).toBe(seed);

    await page.fill("#prompt", "red apple");
    await page.click('[data-images="4"]');
    await page.click("#preset-draft");
    await page.keyboard.press("Enter");
    await page.focus("#prompt");
    await page.keyboard.press("Enter");
    await page.locator("#stage-title", { hasText: "red apple" }).waitFor();
    await done(page);
    expect(await page.locator(".frame").count()).toBe(4);
    await page.locator("#history-list li").nth(1).waitFor();
    await expectAccessible(page);
    expect(await smallTargets(page)).toEqual([]);
    await page.goBack();
    await page.locator("#stage-title", { hasText: PROMPT }).waitFor();
    await done(page);
    expect(page.url()).toBe(first);
    expect([
      await page.inputValue("#prompt"),
      await page.inputValue("#seed"),
      await page.inputValue("#steps"),
      await page.inputValue("#outputs"),
    ]).toEqual([PROMPT, seed, "50", "1"]);

    // The link shows it without a key, until it is taken back.
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.click("#share");
    await page.locator("#share", { hasText: "Copied" }).waitFor();
    const shared = await page.evaluate(() => navigator.clipboard.readText());
    expect(new URL(shared).search).toBe("");
    expect(shared).not.toContain(test.apiKey);
    const other = await openPage(browser, shared);
    await done(other.page);
    expect(await other.page.inputValue("#seed")).toBe(seed);
    const [mine, theirs] = await Promise.all(
      [page, other.page].map(async (one) =>
        bytesOf(test.url, await one.getAttribute(".frame img:not(.partial)", "src")),
      ),
    );
    expect(theirs?.equals(mine ?? Buffer.alloc(0))).toBe(true);
    await expectAccessible(other.page);
    expect(other.troubles).toEqual([]);
    const taken = page.waitForResponse((response) => response.request().method() === "DELETE");
    await page.click("#unshare");
    await taken;
    await other.page.reload();
    await other.page.locator("#problem", { hasText: "taken back" }).waitFor();
    await other.page.context().close();

    // It is deleted once nobody can undo it.
    const entries = page.locator("#history-list li");
    const known = await entries.count();
    await entries.first().hover();
    await entries.first().locator(".remove").click();
    await expect.poll(() => entries.count()).toBe(known - 1);
    await page.click("#undo");
    await expect.poll(() => entries.count()).toBe(known);
    const gone = /run=(\w+)/.exec((await entries.first().locator("a").getAttribute("href")) ?? "")?.[1] ?? "";
    await entries.first().hover();
    await entries.first().locator(".remove").click();
    await expectAccessible(page);
    await page.reload();
    await expect
      .poll(() =>
        getPrediction(test, gone).then(
          ({ status }) => status,
          () => "gone",
        ),
      )
      .toBe("gone");
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("opens links with settings, all of them, and files with theirs", async () => {
    const settings = "prompt=red+apple&preset=fast&guidance_scale=5&seed=3&num_outputs=4&output_format=webp";
    const { page, troubles } = await openPage(browser, `${link}&model=${BUNDLED.name}&${settings}`);
    // Until a worker announces a model, the page says that there is none.
    await page.route("**/v1/models", (route) => route.fulfill({ json: { data: [] } }));
    await page.click("#key-offer-use");
    await page.locator("#service-note", { hasText: "No model is being served" }).waitFor();
    await page.unroute("**/v1/models");
    await page.locator("#model option", { hasText: BUNDLED.name }).waitFor({ state: "attached" });
    const form = (): Promise<string[]> =>
      Promise.all(
        ["#prompt", "#steps", "#guidance", "#seed", "#outputs", "#format"].map((id) => page.inputValue(id)),
      );
    const given = ["red apple", "10", "5", "3", "4", "webp"];
    expect(await form()).toEqual(given);
    await page.reload();
    await page.locator("#model option", { hasText: BUNDLED.name }).waitFor({ state: "attached" });
    expect(await form()).toEqual(given);
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await openSettings(page);
    await page.click("#settings-link");
    await page.locator("#settings-link", { hasText: "Copied" }).waitFor();
    const copied = new URL(await page.evaluate(() => navigator.clipboard.readText()));
    expect(Object.fromEntries(new URLSearchParams(copied.hash.slice(1)))).toEqual(
      Object.fromEntries(new URLSearchParams(settings)),
    );

    // A file that was made here, dropped.
    const file = await generateImage(test, {
      prompt: "a fox, señor",
      seed: 12,
      guidance_scale: 2,
      preset: "draft",
    });
    await page.evaluate((base64) => {
      const bytes = Uint8Array.from(atob(base64), (char) => char.charCodeAt(0));
      const transfer = new DataTransfer();
      transfer.items.add(new File([bytes], "a.png", { type: "image/png" }));
      window.dispatchEvent(
        new DragEvent("drop", { dataTransfer: transfer, bubbles: true, cancelable: true }),
      );
    }, file.toString("base64"));
    await expect.poll(form).toEqual(["a fox, señor", "5", "2", "12", "1", "png"]);
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("lets go of what cannot be followed", async () => {
    const { page } = await open();
    await page.route("**/events*", (route) =>
      route.fulfill({
        status: 404,
        contentType: "application/problem+json",
        body: '{"detail":"no such run"}',
      }),
    );
    await fill(page, { steps: 30 });
    await page.click("#make");
    await page.locator("#problem", { hasText: "No such run." }).waitFor();
    expect(await page.textContent("#make")).toBe("Make it");
    await page.unroute("**/events*");

    // Without a connection canceling does not get through either.
    await page.click("#make");
    await progress(page, /^Step /);
    expect(await page.isVisible("#problem")).toBe(false);
    await page.context().setOffline(true);
    // Streams that are open stay so, but events that stop are noticed.
    await page.keyboard.press("Escape");
    await progress(page, /^Not followed any more/);
    expect(await page.textContent("#make")).toBe("Make it");
    await page.context().setOffline(false);

    // Of a limit it says when it ends.
    await page.route("**/v1/predictions", (route) =>
      route.fulfill({
        status: 429,
        headers: { "retry-after": "7" },
        contentType: "application/problem+json",
        body: '{"detail":"the limit of requests per minute is reached"}',
      }),
    );
    await page.click("#make");
    await page.locator("#problem", { hasText: /is reached\. Try again in [67] s\./ }).waitFor();
    await page.unroute("**/v1/predictions");
    await fill(page, { steps: 2 });
    await page.click("#make");
    await done(page);
    expect(await page.isVisible("#problem")).toBe(false);
    await page.context().close();
  });

  it("tells the place in the queue as it changes, and downloads by name", async () => {
    const { page, troubles } = await open();
    const ahead = await Promise.all(
      [1, 2].map((seed) => createPrediction(test, { prompt: PROMPT, seed, num_inference_steps: 60 })),
    );
    await fill(page, { steps: 5 });
    await page.click("#make");
    await progress(page, /place 2|starts in about/);
    for (const { id } of ahead) await request(test, `/v1/predictions/${id}/cancel`, {});
    await done(page);
    const saved = page.waitForEvent("download");
    await page.focus('[data-tool="save"]');
    await page.keyboard.press("Enter");
    expect((await saved).suggestedFilename()).toBe("fox-flat-style-seed-7.png");
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("says when a worker is silent, and cancels with Escape", async () => {
    const { page, troubles } = await open();
    await fill(page, { steps: 100 });
    const [created] = await Promise.all([
      page.waitForResponse((response) => response.url().endsWith("/v1/predictions")),
      page.click("#make"),
    ]);
    const { id } = (await created.json()) as { id: string };
    await progress(page, /^Step /);
    const pid = test.stack.workers[0]?.pid ?? Number.NaN;
    process.kill(pid, "SIGSTOP");
    try {
      await progress(page, /^Step \d+ of 100 .* no word from the worker for \d+ s/);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await page.keyboard.press("Escape");
    await progress(page, /Canceled/);
    expect((await getPrediction(test, id)).status).toBe("canceled");
    expect(await page.textContent("#make")).toBe("Make it");
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("shows partial images in several formats", async () => {
    const { page, troubles } = await open();
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

  it("is fit for a phone and for dark rooms", async () => {
    const { page, troubles } = await open({ ...PHONE, colorScheme: "dark" });
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
    const { page } = await openPage(browser, test.url, { javaScriptEnabled: false });
    expect(await page.isVisible("#prompt")).toBe(false);
    expect(await page.textContent("body")).toContain("needs JavaScript");
    await page.goto(`${test.url}/no/such/page`);
    expect(await page.textContent("h1")).toBe("There is nothing at this address");
    await page.context().close();
    const answer = await fetch(`${test.url}/no/such/page`);
    expect([answer.status, answer.headers.get("content-type")]).toEqual([404, "application/problem+json"]);
  });

  it("goes on where it was when the edge is killed under it", async () => {
    const { page } = await open();
    const seen = await watchTokens(page);
    await fill(page, { steps: 60 });
    await page.click("#make");
    await progress(page, /^Step \d/);
    await test.stack.edge.kill("SIGKILL");
    await progress(page, /resuming/);
    await done(page);
    const steps = (await seen()).flatMap(({ text }) => /^Step (\d+) /.exec(text)?.[1] ?? []).map(Number);
    expect([...new Set(steps)]).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    await page.context().close();
    await test.stack.waitReady();
  });
});
