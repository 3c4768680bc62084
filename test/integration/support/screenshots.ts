// Images for the documentation, which tests of the pages write if they are told to.

import { mkdir } from "node:fs/promises";
import { join } from "node:path";
import type { Page } from "playwright-core";
import sharp from "sharp";
import { REPO } from "../../../infra/stack/paths.ts";

/** Where they are written; undefined unless `VQD_SCREENSHOTS` is set. */
export const SCREENSHOTS = process.env["VQD_SCREENSHOTS"] ? join(REPO, "docs", "images") : undefined;

export async function screenshot(page: Page, name: string, fullPage = false): Promise<void> {
  if (SCREENSHOTS === undefined) return;
  await mkdir(SCREENSHOTS, { recursive: true });
  const png = await page.screenshot({ fullPage });
  await sharp(png)
    .png({ palette: true, quality: 90 })
    .toFile(join(SCREENSHOTS, `${name}.png`));
}
