// axe-core's rules on a page as it is.

import axeCore from "axe-core";
import type { Page } from "playwright-core";

/** What axe-core finds wrong: the rule, the element, and the reason. */
export async function axeViolations(page: Page): Promise<string[]> {
  // As the debugger does, past the content security policy.
  await page.evaluate(`window.axe ?? (() => { ${axeCore.source} })()`);
  const { violations } = await page.evaluate(() => {
    const { axe } = window as unknown as { axe: typeof axeCore };
    return axe.run({ resultTypes: ["violations"] });
  });
  return violations.flatMap(({ id, nodes }) =>
    nodes.map(
      ({ html, failureSummary }) => `${id}: ${html.slice(0, 120)} ${failureSummary?.slice(0, 200) ?? ""}`,
    ),
  );
}
