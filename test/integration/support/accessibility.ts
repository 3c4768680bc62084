// What a page must be for everyone: names of controls as Chromium computes them, sound references, contrast.

import type { Page } from "playwright-core";

/** Roles that mean nothing without a name. */
const NAMED_ROLES = new Set([
  "button",
  "checkbox",
  "combobox",
  "img",
  "image",
  "link",
  "progressbar",
  "radio",
  "slider",
  "spinbutton",
  "tab",
  "tabpanel",
  "textbox",
]);

interface AXNode {
  readonly ignored: boolean;
  readonly role?: { readonly value?: string };
  readonly name?: { readonly value?: string };
}

/** Controls and pictures of the page that have no name, by role. */
export async function unnamedControls(page: Page): Promise<{ named: number; unnamed: string[] }> {
  const session = await page.context().newCDPSession(page);
  const { nodes } = (await session.send("Accessibility.getFullAXTree")) as { nodes: AXNode[] };
  await session.detach();
  const controls = nodes.filter(({ ignored, role }) => !ignored && NAMED_ROLES.has(role?.value ?? ""));
  return {
    named: controls.filter(({ name }) => name?.value?.trim()).length,
    unnamed: controls.filter(({ name }) => !name?.value?.trim()).map(({ role }) => role?.value ?? ""),
  };
}

/** Everything in the page's structure that is wrong: headings, ids, references, language. Empty if it is sound. */
export function structureFaults(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const faults: string[] = [];
    if (!document.documentElement.lang) faults.push("no language");
    if (document.title === "") faults.push("no title");
    if (document.querySelectorAll("main").length !== 1) faults.push("not one main");
    if (document.querySelectorAll("h1").length !== 1) faults.push("not one h1");
    let level = 0;
    for (const heading of document.querySelectorAll("h1, h2, h3, h4, h5, h6")) {
      const own = Number(heading.tagName.slice(1));
      if (own > level + 1) faults.push(`a heading of level ${own} after ${level}: ${heading.textContent}`);
      level = own;
    }
    const ids = [...document.querySelectorAll("[id]")].map(({ id }) => id);
    for (const id of new Set(ids)) {
      if (ids.filter((other) => other === id).length > 1) faults.push(`id ${id} is not unique`);
    }
    for (const name of ["aria-describedby", "aria-labelledby", "aria-controls", "for"]) {
      for (const element of document.querySelectorAll(`[${name}]`)) {
        for (const id of (element.getAttribute(name) ?? "").split(/\s+/)) {
          if (document.getElementById(id) === null)
            faults.push(`${name} of <${element.localName}> means no #${id}`);
        }
      }
    }
    return faults;
  });
}

/** Texts whose contrast with what is behind them is below WCAG's 4.5 (3 for large text), with the ratio. */
export function faintTexts(page: Page): Promise<string[]> {
  return page.evaluate(() => {
    const canvas = document.createElement("canvas");
    canvas.width = canvas.height = 1;
    const context = canvas.getContext("2d", { willReadFrequently: true });
    if (context === null) throw new Error("no canvas");
    const rgba = (colour: string): number[] => {
      context.clearRect(0, 0, 1, 1);
      context.fillStyle = colour;
      context.fillRect(0, 0, 1, 1);
      return [...context.getImageData(0, 0, 1, 1).data];
    };
    const luminance = ([r = 0, g = 0, b = 0]: number[]): number => {
      const [lr = 0, lg = 0, lb = 0] = [r, g, b].map((channel) => {
        const c = channel / 255;
        return c <= 0.04045 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4;
      });
      return 0.2126 * lr + 0.7152 * lg + 0.0722 * lb;
    };
    const behind = (element: Element): number[] => {
      for (let at: Element | null = element; at !== null; at = at.parentElement) {
        const colour = rgba(getComputedStyle(at).backgroundColor);
        if (colour[3] === 255) return colour;
      }
      return [255, 255, 255, 255];
    };
    const faint: string[] = [];
    const walker = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
    for (let node = walker.nextNode(); node !== null; node = walker.nextNode()) {
      const element = node.parentElement;
      const text = node.textContent?.trim() ?? "";
      if (element === null || text === "" || !element.checkVisibility({ opacityProperty: true })) continue;
      // WCAG has no demand on what is disabled.
      if (element.closest(":disabled, .visually-hidden, noscript, script") !== null) continue;
      const style = getComputedStyle(element);
      const [a, b] = [luminance(rgba(style.color)), luminance(behind(element))].toSorted((x, y) => y - x);
      const ratio = ((a ?? 0) + 0.05) / ((b ?? 0) + 0.05);
      const isLarge = Number.parseFloat(style.fontSize) >= 24;
      if (ratio < (isLarge ? 3 : 4.5)) faint.push(`${ratio.toFixed(2)} ${text.slice(0, 40)}`);
    }
    return faint;
  });
}

/** Pixels by which the page is wider than its window. */
export const overflow = (page: Page): Promise<number> =>
  page.evaluate(() => document.documentElement.scrollWidth - document.documentElement.clientWidth);

/** What has the keyboard's focus. */
export interface TabStop {
  readonly id: string;
  /** Whether it has a ring, of at least two pixels. */
  readonly hasRing: boolean;
  /** Whether something lies over it, or it is out of sight. */
  readonly isCovered: boolean;
}

/** Presses Tab that often, and tells where that leads. */
export async function tabStops(page: Page, count: number): Promise<TabStop[]> {
  const stops: TabStop[] = [];
  for (let i = 0; i < count; i++) {
    await page.keyboard.press("Tab");
    const stop = await page.evaluate(() => {
      const element = document.activeElement;
      // Between the last and the first.
      if (element === null || element === document.body) return undefined;
      const { outlineStyle, outlineWidth } = getComputedStyle(element);
      const { x, y, width, height } = element.getBoundingClientRect();
      // The middle of what is in sight of it.
      const middle = (Math.max(y, 0) + Math.min(y + height, innerHeight)) / 2;
      const at = document.elementFromPoint(x + width / 2, middle);
      return {
        id: element.id || element.textContent.trim().slice(0, 30) || element.localName,
        hasRing: outlineStyle !== "none" && Number.parseFloat(outlineWidth) >= 2,
        isCovered: !(element.contains(at) || at?.contains(element)) || at === document.documentElement,
      };
    });
    if (stop !== undefined) stops.push(stop);
  }
  return stops;
}

/** Roles and names in the order in which a screen reader comes to them. */
export async function readingOrder(page: Page): Promise<string[]> {
  const snapshot = await page.locator("body").ariaSnapshot();
  return snapshot.split("\n").flatMap((line) => {
    const [, role, name] = /^\s*- '?(\w+) "(.*?)"/.exec(line) ?? [];
    return role === undefined ? [] : [`${role} ${name}`];
  });
}

/** Of `wanted`, what does not follow in this order. */
export function outOfOrder(order: readonly string[], wanted: readonly string[]): string[] {
  let at = -1;
  return wanted.filter((each) => {
    const next = order.indexOf(each, at + 1);
    if (next >= 0) at = next;
    return next < 0;
  });
}
