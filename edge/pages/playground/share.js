// Links to a run: whoever has one sees its images and settings, until its owner takes it back.

import { client } from "../assets/api.js";
import { byId, copyFrom } from "../assets/dom.js";
import { showError } from "./problem.js";

const share = byId("share", HTMLButtonElement);
const unshare = byId("unshare", HTMLButtonElement);

/** @type {string | undefined} */
let shown;

/** The path of a shared run. @param {string} id @param {string} capability */
export const sharedPath = (id, capability) =>
  `v1/shared/${encodeURIComponent(id)}/${encodeURIComponent(capability)}`;

/** Offers to share the run on the stage, if it is the key owner's. @param {{ id: string, urls: object } | undefined} run */
export function offerSharing(run) {
  shown = run?.id;
  byId("share-row", HTMLElement).hidden = run === undefined;
  unshare.hidden = run === undefined || !("shared" in run.urls);
}

async function shareShown() {
  if (shown === undefined) return;
  try {
    const { id, capability } = await client.request(`v1/predictions/${encodeURIComponent(shown)}/share`, {
      method: "POST",
    });
    const url = new URL(document.baseURI);
    url.hash = new URLSearchParams({ run: id, share: capability }).toString();
    await copyFrom(share, url.href);
    unshare.hidden = false;
  } catch (error) {
    showError(error);
  }
}
async function unshareShown() {
  if (shown === undefined) return;
  try {
    await client.fetch(`v1/predictions/${encodeURIComponent(shown)}/share`, { method: "DELETE" });
    unshare.hidden = true;
    share.focus();
  } catch (error) {
    showError(error);
  }
}
share.addEventListener("click", () => void shareShown());
unshare.addEventListener("click", () => void unshareShown());
