// The tab of webhooks: receivers are tried with the code that it shows.

import { expect, it } from "vitest";
import { freePorts } from "../../../infra/stack/ports.ts";
import { axeViolations } from "../support/axe.ts";
import { expectAccessible, smallTargets } from "../support/playground.ts";
import { type ConsoleStack, shows } from "./context.ts";

/** Registers its tests. */
export function triesReceivers(stack: ConsoleStack): void {
  it("tries receivers with the code that it shows, keeps the secret to itself, and replaces it", async () => {
    const { page, troubles } = await stack.open("webhooks");
    expect(await page.isVisible("#secret")).toBe(false);
    await page.focus("#secret-show");
    await page.keyboard.press("Enter");
    await page.locator("#secret", { hasText: /^whsec_/ }).waitFor();
    const secret = (await page.textContent("#secret")) ?? "";
    await expect.poll(() => page.evaluate(() => document.activeElement?.id)).toBe("secret-show");
    await expectAccessible(page);
    expect(await smallTargets(page)).toEqual([]);
    const send = async (url: string): Promise<string> => {
      await page.fill("#trial-url", url);
      await page.evaluate(() => document.querySelector("#trial-answer")?.replaceChildren());
      await page.press("#trial-url", "Enter");
      await page.locator("#trial-answer .outcome").waitFor();
      return (await page.textContent("#trial-answer")) ?? "";
    };
    let last = "";
    for (const language of ["javascript", "python"]) {
      await page.click(`#receiver-${language}`);
      const code = (await page.textContent("#receiver-code")) ?? "";
      const receiver = await stack.startReceiver(language, code, secret);
      expect(await send(receiver.url)).toMatch(/^Delivered\s*Status 204, after \d+ ms/);
      await expect.poll(receiver.printed).toMatch(/^msg_\w+ test succeeded \[/);
      last = receiver.url;
    }

    await page.click("#secret-rotate");
    expect(await axeViolations(page)).toEqual([]);
    await page.click("#rotate-keep");
    expect(await page.textContent("#secret")).toBe(secret);
    await page.click("#secret-rotate");
    await page.click("#rotate-do");
    await shows(page, "This one signs from now on; the old one too, until");
    expect(await page.textContent("#secret")).not.toBe(secret);
    // What has the old one goes on.
    expect(await send(last)).toMatch(/^Delivered/);

    // One with neither refuses, and nothing answers at a port that nobody listens at.
    await page.click("#receiver-javascript");
    const other = await stack.startReceiver(
      "javascript",
      (await page.textContent("#receiver-code")) ?? "",
      "whsec_AAAA",
    );
    expect(await send(other.url)).toMatch(/^Not delivered\s*Status 401/);
    const [closed = 0] = await freePorts(1);
    expect(await send(`http://127.0.0.1:${closed}/`)).toMatch(/^Not delivered\s*No connection/);
    await page.fill("#trial-url", "https://10.0.0.1/");
    await page.click("text=Send test event");
    await page.locator("#trial-error", { hasText: "It must not be a private address." }).waitFor();
    await expectAccessible(page);
    await page.click("#tab-runs");
    await page.click("#tab-webhooks");
    expect(await page.isVisible("#secret")).toBe(false);
    expect(troubles.filter((trouble) => !trouble.includes("422"))).toEqual([]);
    await page.context().close();
  });
}
