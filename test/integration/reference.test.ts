// The API reference in a real browser, on the running system: what it finds, what it shows, and that its examples run.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm, writeFile } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import type { Browser, BrowserContextOptions, Locator, Page } from "playwright-core";
import { afterAll, beforeAll, describe, expect, it } from "vitest";
import { NODE } from "../../infra/stack/paths.ts";
import { faintTexts, overflow, structureFaults } from "./support/accessibility.ts";
import { axeViolations } from "./support/axe.ts";
import { chromiumPath, launchBrowser, openPage, type WatchedPage } from "./support/browser.ts";
import { createPrediction } from "./support/client.ts";
import { expectAccessible, smallTargets, sticksOut } from "./support/playground.ts";
import { screenshot, SCREENSHOTS } from "./support/screenshots.ts";
import { startTestStack, TINY_MODEL, type TestStack } from "./support/stack.ts";

const WIDTHS = [320, 390, 640, 768, 1024, 1280, 1920];
const DESKTOP: BrowserContextOptions = { viewport: { width: 1280, height: 900 } };
const PNG = Buffer.from([0x89, 0x50, 0x4e, 0x47]);
const run = promisify(execFile);

if (chromiumPath === undefined) {
  it.skip("the API reference in a browser: no Chromium found on the PATH or in VQD_CHROMIUM", () => {});
}

describe.skipIf(chromiumPath === undefined)("the API reference", () => {
  let test: TestStack;
  let browser: Browser;
  let folder: string;
  beforeAll(async () => {
    [test, browser, folder] = await Promise.all([
      startTestStack({
        workers: 1,
        model: TINY_MODEL,
        workerEnv: { VQD_MODEL_NAME: "vqd/scenes" },
        edgeEnv: { DEFAULT_MODEL: "vqd/scenes" },
      }),
      launchBrowser(),
      mkdtemp(join(tmpdir(), "vqd-reference-")),
    ]);
  });
  afterAll(async () => {
    await browser?.close();
    await test?.stop();
    await rm(folder, { recursive: true, force: true });
  });

  /** The reference with a key in use, as another page of the same tab has stored it. */
  async function open(hash = "", options = DESKTOP): Promise<WatchedPage> {
    const opened = await openPage(browser, `${test.url}/docs${hash}`, options);
    await opened.page.evaluate((key) => sessionStorage.setItem("vqd.key", key), test.apiKey);
    await opened.page.reload();
    await opened.page.locator("#createPrediction").waitFor();
    return opened;
  }
  /** Opens an operation and its form. */
  async function openTry(page: Page, id: string): Promise<Locator> {
    await page.evaluate((hash) => (location.hash = hash), id);
    await page.click(`#${id} .try > summary`);
    return page.locator(`#${id} .try`);
  }
  const outcome = (form: Locator, text: RegExp): Promise<void> =>
    form.locator(".outcome", { hasText: text }).waitFor({ timeout: 30_000 });
  const focused = (page: Page): Promise<string> =>
    page.evaluate(() => document.activeElement?.closest("[id]")?.id ?? "");

  it("opens the operation of the address, folds the contents, and shows every operation", async () => {
    const { page, troubles } = await open("#create-prediction");
    const { paths } = (await (await fetch(`${test.url}/openapi.json`)).json()) as {
      paths: Record<string, Record<string, { operationId: string }>>;
    };
    const ids = Object.values(paths).flatMap((methods) =>
      Object.values(methods).map(({ operationId }) => operationId),
    );
    const shown = await page.locator(".operation").evaluateAll((sections) => sections.map(({ id }) => id));
    expect(shown.toSorted()).toEqual(ids.toSorted());
    const create = page.locator("#createPrediction");
    expect(await create.getAttribute("open")).toBe("");
    expect(
      await create.locator('.details > .fields [data-field="input.guidance_scale"]').textContent(),
    ).toMatch(/from 0 to 20/);
    expect(await page.locator(".operation[open]").count()).toBe(1);
    await expectAccessible(page);

    // A link of another group opens that group's operation, and a reload shows it again.
    const group = page.locator("#contents-groups details", { hasText: /^Images/ });
    expect(await group.locator("a").first().isVisible()).toBe(false);
    await group.locator("summary").focus();
    await page.keyboard.press("Enter");
    await group.locator("a", { hasText: "Generate images" }).click();
    expect(new URL(page.url()).hash).toBe("#generateImages");
    await page.reload();
    await page.locator("#generateImages .side").waitFor();
    expect(await page.locator('#contents-groups a[aria-current="true"]').getAttribute("href")).toBe(
      "#generateImages",
    );
    await page.click("#generateImages > summary");
    await page.click("#listModels > summary");
    expect(new URL(page.url()).hash).toBe("#listModels");
    expect(await axeViolations(page)).toEqual([]);
    expect(await smallTargets(page)).toEqual([]);
    if (SCREENSHOTS !== undefined) {
      await page.goto(`${test.url}/docs#getPrediction`);
      await page.locator("#getPrediction .side").waitFor();
      await screenshot(page, "reference");
    }
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("finds operations by words, fields and schemas, from the keyboard", async () => {
    const { page, troubles } = await open();
    await page.keyboard.press("/");
    expect(await focused(page)).toBe("search");
    await page.keyboard.type("delete pred");
    const status = page.locator("#search-status");
    expect(await status.textContent()).toBe("2 operations");
    expect(await page.textContent("#hit-0")).toContain("Delete a prediction");
    await page.keyboard.press("Escape");
    expect(await page.inputValue("#search")).toBe("");
    expect(await page.isVisible("#contents-groups")).toBe(true);
    await page.keyboard.type("POST /v1/images");
    expect(await status.textContent()).toBe("3 operations");
    await page.keyboard.press("ArrowDown");
    expect(await page.getAttribute("#search", "aria-activedescendant")).toBe("hit-1");
    expect(await axeViolations(page)).toEqual([]);
    await page.keyboard.press("Enter");
    expect(new URL(page.url()).hash).toBe("#editImages");
    expect(await focused(page)).toBe("editImages");

    await page.keyboard.press("/");
    await page.keyboard.type("webhookattempts");
    expect(await page.textContent("#hit-0")).toContain("List the delivery attempts");
    await page.fill("#search", "eta_seconds");
    expect(await page.textContent("#hit-0 code")).toBe("queue.eta_seconds");
    await page.click("#hit-0");
    await page.locator("#createPrediction .found", { hasText: "queue.eta_seconds" }).waitFor();
    await page.fill("#search", "nothing like it");
    expect(await status.textContent()).toBe("No operations");
    await page.goBack();
    await page.locator("#editImages[open]").waitFor();
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("has examples that run in every language, which stays chosen", async () => {
    const { page, troubles } = await open();
    const { output } = (await (
      await fetch(`${test.url}/v1/predictions`, {
        method: "POST",
        headers: {
          authorization: `Bearer ${test.apiKey}`,
          "content-type": "application/json",
          prefer: "wait",
        },
        body: JSON.stringify({ input: { prompt: "a", num_inference_steps: 1 } }),
      })
    ).json()) as { output: [string] };
    await writeFile(join(folder, "photo.png"), Buffer.from(await (await fetch(output[0])).arrayBuffer()));
    const env = { ...process.env, VQD_API_KEY: test.apiKey };
    const commands: Record<string, [file: string, command: string]> = {
      curl: ["example.sh", "sh"],
      javascript: ["example.mjs", NODE],
      python: ["example.py", "python3"],
    };
    /** Runs what the page shows, and gives what it prints. */
    const example = async (id: string, language: string): Promise<string> => {
      const code = (await page.textContent(`#${id}-code`)) ?? "";
      const [file, command] = commands[language] ?? ["", ""];
      await writeFile(join(folder, file), code);
      return (await run(command, [file], { cwd: folder, env })).stdout;
    };
    for (const id of ["getHealth", "generateImages", "createFile", "textToImage"]) {
      await page.evaluate((hash) => (location.hash = hash), id);
      await page.locator(`#${id}[open]`).waitFor();
    }
    await page.selectOption("#generateImages-example", { label: "Streamed" });
    for (const language of Object.keys(commands)) {
      await page.click(`#getHealth-${language}`);
      expect(await page.getAttribute(`#createFile-${language}`, "aria-selected")).toBe("true");
      expect(await example("getHealth", language)).toContain("vqd/scenes");
      const events = await example("generateImages", language);
      expect(events.match(/^event: image_generation.partial_image$/gm), language).toHaveLength(2);
      expect(events).toMatch(/^event: image_generation.completed$/m);
      expect(await example("createFile", language)).toContain("photo.png");
      await rm(join(folder, "image.png"), { force: true });
      await example("textToImage", language);
      expect((await readFile(join(folder, "image.png"))).subarray(0, 4)).toEqual(PNG);
    }
    await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
    await page.click("#textToImage .copy >> nth=0");
    expect(await page.evaluate(() => navigator.clipboard.readText())).toBe(
      await page.textContent("#textToImage-code"),
    );
    await page.reload();
    await page.locator("#textToImage-code", { hasText: "import urllib.request" }).waitFor();
    expect(troubles).toEqual([]);
    await page.context().close();
  });

  it("tries operations with the key in use: what they answer, what is wrong, and what is asked first", async () => {
    const { page, troubles } = await openPage(browser, `${test.url}/docs`, DESKTOP);
    const sent: string[] = [];
    page.on("request", (request) => {
      const { origin, pathname } = new URL(request.url());
      if (origin !== "null")
        sent.push(`${request.method()} ${origin === test.url ? pathname : request.url()}`);
    });
    await page.locator("#createPrediction").waitFor();
    // Without a key: it is asked for where it is needed.
    const create = await openTry(page, "createPrediction");
    expect(await create.locator(".primary").isDisabled()).toBe(true);
    await expectAccessible(page);
    await create.locator("text=Enter a key").click();
    await page.keyboard.type(test.apiKey);
    await page.keyboard.press("Enter");
    await expect.poll(() => focused(page)).toBe("createPrediction");
    await create.locator("text=Sent with the API key").waitFor();
    expect(sent.filter((line) => line.includes("/v1/")).filter((line) => line !== "GET /v1/account")).toEqual(
      [],
    );

    // What is wrong with a request, before and after it is sent.
    await create.locator("textarea").fill("{ not json");
    await create.locator(".primary").click();
    await create.locator(".error", { hasText: "This is not JSON" }).waitFor();
    await create
      .locator("textarea")
      .fill('{"input": {"prompt": "a fox", "guidance_scale": 99, "seed": 1.5}}');
    await page.keyboard.press("Control+Enter");
    await outcome(create, /^422 .* · \d+ ms$/);
    expect(await create.locator(".alert li").allTextContents()).toContain(
      "input.guidance_scale must be at most 20",
    );
    await expectAccessible(page);

    await page.selectOption("#createPrediction-example", { label: "A quick draft" });
    await create.locator(".primary").click();
    await outcome(create, /^201 Created/);
    const { id } = JSON.parse((await create.locator("pre").textContent()) ?? "") as { id: string };
    expect(await create.locator(".headers").textContent()).toContain("x-request-id");

    // Its id is filled in where others take one: its events to their end, its image, and itself.
    const events = await openTry(page, "predictionEvents");
    expect(await events.locator("input").first().inputValue()).toBe(id);
    await events.locator(".primary").click();
    await outcome(events, /^200 OK · /);
    expect(await events.locator("pre").textContent()).toMatch(
      /step \{"step":1.*done \{"status":"succeeded"/s,
    );
    const get = await openTry(page, "getPrediction");
    await get.locator(".primary").click();
    await outcome(get, /^200 OK/);
    await expect
      .poll(() =>
        get
          .locator("img")
          .evaluateAll((images) => images.map((image) => (image as HTMLImageElement).naturalWidth)),
      )
      .toEqual([16]);
    const image = await openTry(page, "getFile");
    await image.locator(".primary").click();
    await outcome(image, /^200 OK · .* bytes$/);
    expect(await image.locator("img").getAttribute("src")).toMatch(/^data:image\/png/);

    // A form with a file.
    const file = await openTry(page, "createFile");
    await file.locator(".primary").click();
    await outcome(file, /^422/);
    expect(await file.locator(".alert").textContent()).toContain("content is required");
    await file.locator("input[type=file]").setInputFiles({
      name: "fox.png",
      mimeType: "image/png",
      buffer: await readFile(join(folder, "photo.png")),
    });
    await file.locator(".primary").click();
    await outcome(file, /^201 Created/);

    // Asked first, and not sent unless it is confirmed.
    const remove = await openTry(page, "deletePrediction");
    await remove.locator(".primary").click();
    expect(await page.textContent("#confirm-text")).toBe(`DELETE /v1/predictions/${id}`);
    expect(await axeViolations(page)).toEqual([]);
    await page.click("#confirm-not");
    expect(sent.some((line) => line.startsWith("DELETE"))).toBe(false);
    await remove.locator(".primary").click();
    await page.click("#confirm-send");
    await outcome(remove, /^204/);
    await get.locator(".primary").click();
    await outcome(get, /^404/);
    await get.locator(".alert", { hasText: "The prediction does not exist." }).waitFor();
    expect(sent.filter((line) => line.includes("http"))).toEqual([]);
    expect(troubles.filter((trouble) => !/422|404/.test(trouble))).toEqual([]);
    await page.context().close();
  });

  it("stops a stream, and says when the service does not answer", async () => {
    const pid = test.stack.workers[0]?.pid ?? Number.NaN;
    process.kill(pid, "SIGSTOP");
    try {
      const { id } = await createPrediction(test, { prompt: "a cat", num_inference_steps: 50 });
      const { page } = await open();
      const events = await openTry(page, "predictionEvents");
      await events.locator("input").first().fill(id);
      await page.keyboard.press("Enter");
      await outcome(events, /events as they come/);
      await events.locator("text=Stop").click();
      await outcome(events, /^Stopped after/);
      const cancel = await openTry(page, "cancelPrediction");
      await cancel.locator("input").first().fill(id);
      await page.keyboard.press("Enter");
      await page.click("#confirm-send");
      await outcome(cancel, /^200 OK/);
      await page.route("**/v1/predictions/*/cancel", (route) => route.abort());
      await cancel.locator(".primary").click();
      await page.click("#confirm-send");
      await outcome(cancel, /^No answer/);
      await cancel.locator(".alert", { hasText: "The service is unreachable" }).waitFor();
      await page.context().close();
    } finally {
      process.kill(pid, "SIGCONT");
    }
  });

  it("fits every width, in light, dark and forced colours, and says when there is nothing to show", async () => {
    const { page, troubles } = await open("#createPrediction", { ...DESKTOP, colorScheme: "dark" });
    await page.click("#createPrediction .try > summary");
    for (const details of await page.locator("#createPrediction .inner > summary:visible").all())
      await details.click();
    expect(await faintTexts(page)).toEqual([]);
    for (const width of WIDTHS) {
      await page.setViewportSize({ width, height: 900 });
      expect(await overflow(page), `${width}`).toBeLessThanOrEqual(0);
      expect(await sticksOut(page), `${width}`).toEqual([]);
    }
    // On a phone the contents are one line above the text, and fold again after a choice.
    await page.setViewportSize({ width: 390, height: 844 });
    expect(await page.isVisible("#contents-groups")).toBe(false);
    await page.click("#contents-fold > summary");
    await page.click("#contents-groups a >> nth=1");
    expect(await page.isVisible("#contents-groups")).toBe(false);
    expect(new URL(page.url()).hash).toBe("#listPredictions");
    expect(await structureFaults(page)).toEqual([]);
    // Where colours are the system's, a line says which operation the address means.
    await page.emulateMedia({ forcedColors: "active" });
    await page.click("#contents-fold > summary");
    const line = await page
      .locator("#contents-groups a[aria-current]")
      .evaluate((link) => getComputedStyle(link).borderBlockEndStyle);
    expect(line).toBe("solid");
    await page.emulateMedia({ forcedColors: "none" });
    expect(troubles).toEqual([]);

    await page.route("**/openapi.json", (route) => route.abort());
    await page.reload();
    await page.locator(".alert", { hasText: "The service is unreachable" }).waitFor();
    expect(await axeViolations(page)).toEqual([]);
    await page.unroute("**/openapi.json");
    await page.click("text=Try again");
    await page.locator("#listPredictions .side").waitFor();
    await page.context().close();

    const { page: bare } = await openPage(browser, `${test.url}/docs`, { javaScriptEnabled: false });
    expect(await bare.textContent(".no-script")).toContain("POST /v1/predictions");
    expect(await overflow(bare)).toBeLessThanOrEqual(0);
    await bare.context().close();
  });
});
