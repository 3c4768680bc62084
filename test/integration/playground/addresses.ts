// Runs and settings have addresses.

import { expect, it } from "vitest";
import { openPage } from "../support/browser.ts";
import { BUNDLED } from "../support/bundled.ts";
import { generateImage, getPrediction } from "../support/client.ts";
import {
  bytesOf,
  done,
  expectAccessible,
  fill,
  openSettings,
  progress,
  PROMPT,
  smallTargets,
} from "../support/playground.ts";
import type { Playground } from "./context.ts";

/** Registers its tests. */
export function keepsAddresses(playground: Playground): void {
  it("keeps runs as pages: after a reload in the middle, by back and forward, and for whoever has the link", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 1400, height: 900 } });
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
    expect(shared).not.toContain(playground.test.apiKey);
    const other = await openPage(playground.browser, shared);
    await done(other.page);
    expect(await other.page.inputValue("#seed")).toBe(seed);
    const [mine, theirs] = await Promise.all(
      [page, other.page].map(async (one) =>
        bytesOf(playground.test.url, await one.getAttribute(".frame img:not(.partial)", "src")),
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

    // It is deleted once nobody can undo it, and so are all.
    const entries = page.locator("#history-list li");
    const known = await entries.count();
    await page.click("#history-clear");
    await page.locator("#toast-text", { hasText: /runs are deleted/ }).waitFor();
    expect(await entries.count()).toBe(0);
    await page.click("#undo");
    await expect.poll(() => entries.count()).toBe(known);
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
        getPrediction(playground.test, gone).then(
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
    const { page, troubles } = await openPage(
      playground.browser,
      `${playground.link}&model=${BUNDLED.name}&${settings}`,
    );
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
    const file = await generateImage(playground.test, {
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
}
