// The playground's code makes the same image.

import { execFile } from "node:child_process";
import { mkdtemp, readFile, rm } from "node:fs/promises";
import { tmpdir } from "node:os";
import { join } from "node:path";
import { promisify } from "node:util";
import { expect, it } from "vitest";
import { REPO } from "../../../infra/stack/paths.ts";
import { bytesOf, done, expectAccessible, fill } from "../support/playground.ts";
import type { Playground } from "./context.ts";

/** Registers its tests. */
export function givesCode(playground: Playground): void {
  it("gives code that makes the same image", async () => {
    const { page, troubles } = await playground.open();
    await fill(page, { prompt: 'it\'s a "red" apple $HOME', steps: 5 });
    await page.click("#make");
    await done(page);
    const shown = await bytesOf(
      playground.test.url,
      await page.locator(".frame img:not(.partial)").getAttribute("src"),
    );
    await page.click("#view-api");
    expect(await page.textContent("#code-text")).toContain('"preset": "draft"');
    expect(JSON.parse((await page.textContent("#answer")) ?? "")).toMatchObject({ status: "succeeded" });
    const env = { ...process.env, VQD_API_KEY: playground.test.apiKey };
    const code = async (tab: string): Promise<string> => {
      await page.click(`#tab-${tab}`);
      const text = (await page.textContent("#code-text")) ?? "";
      expect(text).not.toContain(playground.test.apiKey);
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

  it.for([
    ["javascript", process.execPath, "--input-type=module"],
    ["python", "python3", "-"],
  ] as const)(
    "gives %s that makes it in one paste, without packages",
    async ([tab, program, flag], context) => {
      const known = await promisify(execFile)(program, ["--version"]).catch(() => undefined);
      if (known === undefined) return context.skip(`there is no ${program}`);
      const folder = await mkdtemp(join(tmpdir(), "vqd-snippets-"));
      const { page, troubles } = await playground.open();
      await fill(page, { prompt: 'it\'s a "red" apple $HOME', steps: 5 });
      await page.click("#make");
      await done(page);
      const src = await page.getAttribute(".frame img:not(.partial)", "src");
      const shown = await bytesOf(playground.test.url, src);
      await page.context().grantPermissions(["clipboard-read", "clipboard-write"]);
      await page.click("#view-api");
      await page.click(`#tab-${tab}`);
      await page.click("#copy-code-key");
      await page.locator("#copy-code-key", { hasText: "Copied" }).waitFor();
      const pasted = await page.evaluate(() => navigator.clipboard.readText());
      // Neither a key nor anything else of this environment.
      const options = { cwd: folder, env: { PATH: process.env["PATH"] } };
      const running = promisify(execFile)(program, [flag], options);
      running.child.stdin?.end(pasted);
      expect((await running).stdout).toBe("image-0.png\n");
      expect((await readFile(join(folder, "image-0.png"))).equals(shown)).toBe(true);
      await rm(folder, { recursive: true });
      expect(troubles).toEqual([]);
      await page.context().close();
    },
  );
}
