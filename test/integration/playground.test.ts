// The playground in a real browser, on the running system.

import { afterAll, beforeAll, describe, it } from "vitest";
import { keepsAddresses } from "./playground/addresses.ts";
import { givesCode } from "./playground/code.ts";
import { Playground } from "./playground/context.ts";
import { startsFromPictures } from "./playground/editing.ts";
import { isForEveryone } from "./playground/everyone.ts";
import { followsRuns } from "./playground/following.ts";
import { makesGrids } from "./playground/grid.ts";
import { asksForKeys } from "./playground/keys.ts";
import { makesImages } from "./playground/making.ts";
import { chromiumPath } from "./support/browser.ts";

if (chromiumPath === undefined) {
  it.skip("the playground in a browser: no Chromium found on the PATH or in VQD_CHROMIUM", () => {});
}

describe.skipIf(chromiumPath === undefined)("the playground", () => {
  // One stack and one browser, whatever the subject: each would take longer to start than most of their tests.
  const playground = new Playground();
  beforeAll(() => playground.start());
  afterAll(() => playground.stop());

  makesImages(playground);
  startsFromPictures(playground);
  givesCode(playground);
  asksForKeys(playground);
  keepsAddresses(playground);
  makesGrids(playground);
  isForEveryone(playground);
  followsRuns(playground);
});
