// The playground follows a run: in the queue, through its steps, past what fails.

import { expect, it } from "vitest";
import { createPrediction, getPrediction, request } from "../support/client.ts";
import { done, fill, progress, PROMPT, watchTokens } from "../support/playground.ts";
import type { Playground } from "./context.ts";

/** Registers its tests. */
export function followsRuns(playground: Playground): void {
  it("lets go of what cannot be followed", async () => {
    const { page } = await playground.open();
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
    const { page, troubles } = await playground.open();
    const ahead = await Promise.all(
      [1, 2].map((seed) =>
        createPrediction(playground.test, { prompt: PROMPT, seed, num_inference_steps: 60 }),
      ),
    );
    await fill(page, { steps: 5 });
    await page.click("#make");
    await progress(page, /place 2/);
    // As soon as the queue moves, so does its place.
    const [first] = ahead;
    await request(playground.test, `/v1/predictions/${first?.id ?? ""}/cancel`, {});
    await progress(page, /^(?!.*place 2)/);
    for (const { id } of ahead) await request(playground.test, `/v1/predictions/${id}/cancel`, {});
    await done(page);
    const saved = page.waitForEvent("download");
    await page.focus('[data-tool="save"]');
    await page.keyboard.press("Enter");
    expect((await saved).suggestedFilename()).toBe("fox-flat-style-seed-7.png");
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("opens a run of the history while another goes on, and comes back to that", async () => {
    const { page, troubles } = await playground.open({ viewport: { width: 1400, height: 900 } });
    await fill(page, { prompt: "red apple", steps: 2 });
    await page.click("#make");
    await done(page);
    await fill(page, { steps: 100 });
    await page.click("#make");
    // How far it is, and what is left.
    await progress(page, /^Step \d+ of 100 .* \d+ s left$/);
    await page.locator("#history-list a", { hasText: "red apple" }).first().click();
    await page.locator("#stage-title", { hasText: "red apple" }).waitFor();
    await done(page);
    expect(await page.textContent("#make")).toBe("Make it");
    await page.goBack();
    await page.locator("#stage-title", { hasText: PROMPT }).waitFor();
    await progress(page, /^(?:Step \d+ of 100|Done)/);
    await page.keyboard.press("Escape");
    await progress(page, /^(?:Canceled|Done)/);
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("says when a worker is silent, and cancels with Escape", async () => {
    const { page, troubles } = await playground.open();
    await fill(page, { steps: 100 });
    const [created] = await Promise.all([
      page.waitForResponse((response) => response.url().endsWith("/v1/predictions")),
      page.click("#make"),
    ]);
    const { id } = (await created.json()) as { id: string };
    await progress(page, /^Step /);
    const pid = playground.test.stack.workers[0]?.pid ?? Number.NaN;
    process.kill(pid, "SIGSTOP");
    try {
      await progress(page, /^Step \d+ of 100 .* no word from the worker for \d+ s/);
    } finally {
      process.kill(pid, "SIGCONT");
    }
    await page.keyboard.press("Escape");
    await progress(page, /Canceled/);
    expect((await getPrediction(playground.test, id)).status).toBe("canceled");
    expect(await page.textContent("#make")).toBe("Make it");
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("goes on where it was when the edge is killed under it", async () => {
    const { page } = await playground.open();
    const seen = await watchTokens(page);
    await fill(page, { steps: 60 });
    await page.click("#make");
    await progress(page, /^Step \d/);
    await playground.test.stack.edge.kill("SIGKILL");
    await progress(page, /resuming/);
    await done(page);
    const steps = (await seen()).flatMap(({ text }) => /^Step (\d+) /.exec(text)?.[1] ?? []).map(Number);
    expect([...new Set(steps)]).toEqual(Array.from({ length: 60 }, (_, i) => i + 1));
    await page.context().close();
    await playground.test.stack.waitReady();
  });
}
